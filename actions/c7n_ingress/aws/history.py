"""Look up in AWS Config how often a group was opened, or its exemption renewed, where a policy asks for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from c7n_ingress.aws.calls import BRIEFLY, client_of, pages, why
from c7n_ingress.decide.events import WITHOUT_CONFIGURATION
from c7n_ingress.decide.exemptions import MOST_DAYS
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.records import time_from
from c7n_ingress.decide.reopened import MOST_HOURS, PastState, openings, renewals, renewed, sentence, was_open
from c7n_ingress.decide.rules import Match, source_from, traffic

log = logging.getLogger("custodian.actions")

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["times", "hours"],
    "properties": {
        "times": {"type": "integer", "minimum": 2},
        "hours": {"type": "integer", "minimum": 1, "maximum": MOST_HOURS},
    },
}

PERMISSIONS = ("config:GetResourceConfigHistory",)

MOST_ITEMS = 100
"""The most items that AWS Config returns in one answer."""

LOOKING = 300.0
"""For how many seconds Config is asked about all groups: a function ends after 900, and notifies people before."""


class Histories:
    """What AWS Config knows of groups, as long as there is time to ask it."""

    def __init__(self, action: Any) -> None:
        self.manager = action.manager
        self.wanted = {} if action.data.get("preview") else action.data.get("reopened", {})
        self.end: float | None = None
        """Until when Config is asked, from the first time on, by the monotonic clock."""

    def check_time(self) -> None:
        """Stop asking Config once its time is over."""
        self.end = self.end or time.monotonic() + LOOKING
        if time.monotonic() > self.end:
            raise TimeoutError

    def request(self, group_id: str, **more: Any) -> tuple[Any, dict[str, Any]]:
        """Return Config's client, and the arguments that name a group."""
        # https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
        self.check_time()
        kind = self.manager.resource_type.config_type
        arguments = {"resourceType": kind, "resourceId": group_id, "limit": MOST_ITEMS, **more}
        return client_of(self.manager, "config", config=BRIEFLY), arguments

    def note(self, outcome: Outcome) -> None:
        """Note how often a group that was closed had been opened, if the action's ``reopened`` asks for it."""
        closed = [record for record in outcome.records if record["was"] is not None]
        if not closed or not self.wanted:
            return
        matches = {Match(traffic(record["traffic"]), source_from(record["was"])) for record in closed}
        group_id, now = outcome.group["GroupId"], min(time_from(record["time"]) for record in closed)
        try:
            opened = openings(self.states(group_id, matches), now, self.wanted["hours"])
        except Exception as error:  # any error of Config: the group is closed and reported all the same
            log.exception("%s: whether it was opened before could not be looked up", group_id)
            outcome.reopened = f"whether it was opened before could not be looked up in AWS Config ({why(error)})"
            return
        if len(opened) >= self.wanted["times"]:
            outcome.reopened = sentence(opened)

    def states(self, group_id: str, matches: Collection[Match]) -> list[PastState]:
        """Read the last 100 states of a group."""
        client, arguments = self.request(group_id)
        load = self.manager.get_source("config").load_resource
        return [
            PastState(
                _time(item),
                item["configurationItemStatus"] not in WITHOUT_CONFIGURATION
                and was_open(load(item).get("IpPermissions") or (), matches),
            )
            for item in client.get_resource_config_history(**arguments)["configurationItems"]
        ]

    def renewals(self, group_id: str, tag: str, days: int) -> str:
        """Return how often a group's tag was renewed in the last days, or why that is not known."""
        since = datetime.now(timezone.utc) - timedelta(days=days)
        values = []
        try:
            # What was renewed in these days was granted before.
            client, arguments = self.request(group_id, earlierTime=since - timedelta(days=MOST_DAYS))
            for item in pages(client, "get_resource_config_history", "configurationItems", **arguments):
                values.append((_time(item), (item.get("tags") or {}).get(tag, "")))
                self.check_time()
        except Exception as error:  # any error of Config: that the group is open is reported all the same
            log.exception("%s: how often its exemption was renewed could not be looked up", group_id)
            return f"how often it was renewed could not be looked up in AWS Config ({why(error)})"
        return renewed([each for each in renewals(values) if each >= since], days)


def _time(item: Mapping[str, Any]) -> datetime:
    """Return when Config captured an item, in UTC: botocore has it in the zone of this machine."""
    captured: datetime = item["configurationItemCaptureTime"]
    return captured.astimezone(timezone.utc)
