"""Count the groups that policies change on events, and leave a group open when the hour is full."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError, PolicyExecutionError

from c7n_ingress.aws.calls import BRIEFLY, client_of, error_code, said
from c7n_ingress.decide.brake import FULL, Request, counted, left_open, not_counted, not_reported, reported
from c7n_ingress.decide.message import Outcome

log = logging.getLogger("custodian.actions")

PERMISSIONS = ("dynamodb:UpdateItem",)


@dataclass
class Brake:
    """Lets a limited number of groups an hour be changed, of all runs in a region together.

    If DynamoDB does not answer, groups are changed all the same, and the message says so.
    """

    manager: Any
    at_most: int
    passed: set[str] = field(default_factory=set)
    """The groups that may be changed: each is counted once a run."""
    stopped: set[str] = field(default_factory=set)
    """The groups that must stay as they are."""

    def count(self, outcome: Outcome) -> None:
        """Count a group that is about to be changed.

        :raises PolicyExecutionError: the hour is full, and the group must stay as it is.
        """
        group_id, now = outcome.group["GroupId"], datetime.now(timezone.utc)
        if group_id in self.passed:
            return
        try:
            if not self._holds(counted(group_id, self.at_most, now)):
                self.stopped.add(group_id)
                raise PolicyExecutionError(left_open(self.at_most, self.manager.config.region, now))
        except (BotoCoreError, ClientError) as error:
            log.warning("%s could not be counted", group_id, exc_info=True)
            outcome.noted.append(not_counted(said(error)))
        self.passed.add(group_id)

    def unreported(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return the outcomes that a message must have: not a group again that an earlier attempt has reported."""
        return [each for each in outcomes if self._is_news(each.group["GroupId"])]

    def _is_news(self, group_id: str) -> bool:
        try:
            return group_id not in self.stopped or self._holds(reported(group_id, datetime.now(timezone.utc)))
        except (BotoCoreError, ClientError):  # twice is better than not at all
            log.warning("whether %s was reported could not be looked up", group_id, exc_info=True)
            return True

    def forget(self, outcomes: Iterable[Outcome]) -> None:
        """Let the next attempt report groups whose message could not be sent."""
        try:
            for group_id in self.stopped & {outcome.group["GroupId"] for outcome in outcomes}:
                self._holds(not_reported(group_id))
        except (BotoCoreError, ClientError):  # the event ends in the dead-letter queue, and its alarm reports it
            log.exception("groups count as reported that are not")

    def _holds(self, request: Request) -> bool:
        """Make an update, and return whether its condition held."""
        client = client_of(self.manager, "dynamodb", config=BRIEFLY)
        try:
            client.update_item(**request)
        except ClientError as error:
            if error_code(error) != FULL:
                raise
            return False
        return True
