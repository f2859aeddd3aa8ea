"""What this package's actions share: read each group live, change it, record and tell what was changed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar

from c7n.actions import EventAction
from c7n.actions.notify import Notify
from c7n.exceptions import ClientError, PolicyExecutionError, PolicyValidationError
from c7n.utils import chunks, local_session

from c7n_ingress.apply import (
    CHANGED_MEANWHILE,
    GROUP_GONE,
    NO_ROOM,
    Applier,
    Change,
    NoRoom,
    Untraced,
    as_they_stand,
    error_code,
)
from c7n_ingress.checks import check_notify
from c7n_ingress.live import GROUPS_A_CALL, LiveGroups, Reading
from c7n_ingress.opened import call_in, opened_by, owner_event
from c7n_ingress.outcome import Deed, Outcome, Record, subject
from c7n_ingress.plan import Plan
from c7n_ingress.rules import ports_text
from c7n_ingress.trace import Author

LOOKS = 3
"""How often a group is read and planned anew while somebody else changes it."""

NOTIFY_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["transport"],
    "properties": {name: schema for name, schema in Notify.schema["properties"].items() if name != "type"},
}


class IngressAction(EventAction):
    """An action on ingress rules. A subclass says what is to be done to one group: `attempt`."""

    permissions: tuple[str, ...] = (
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSecurityGroupRules",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:ModifySecurityGroupRules",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:CreateTags",
    )

    deed: ClassVar[Deed]
    """What the action does to rules."""

    def get_permissions(self) -> tuple[str, ...]:
        """Give what the action needs, its notification included."""
        return self.permissions + (self.notify_action().get_permissions() if "notify" in self.data else ())

    @property
    def preview(self) -> bool:
        """Whether to tell what would change and to change nothing."""
        return bool(self.data.get("preview"))

    @property
    def trace(self) -> bool:
        """Whether what is done to rules leaves its trace in tags."""
        return False

    # -- what a subclass says

    def check(self) -> None:
        """Refuse a policy that cannot be meant.

        :raises ValueError: names the value and the mend.
        """
        raise NotImplementedError

    def prepare(self) -> None:
        """Get what is needed before the first group."""

    def attempt(self, reading: Reading, outcome: Outcome) -> bool:
        """Plan and apply once, and put what is left undone into `outcome.undone`.

        :returns: whether another look is of no use.
        """
        raise NotImplementedError

    def finish(self, outcome: Outcome) -> None:
        """Do what comes after the changes to a group, be they all that were to be made or not."""

    def no_room(self, result: NoRoom) -> str:
        """Say which source is missing now, and what to do about it."""
        raise NotImplementedError

    # -- before anything runs

    def validate(self) -> None:
        """Refuse a policy that could do what nobody meant.

        :raises PolicyValidationError: names the value and the mend.
        """
        try:
            self.check()
            if "notify" in self.data:
                check_notify(self.data["notify"])
        except ValueError as error:
            raise PolicyValidationError(f"policy {self.manager.data['name']}: {self.type}: {error}") from None
        if "notify" in self.data:
            self.notify_action().validate()

    # -- running

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[Record]:
        """Change the rules of each group that still matches, and tell what changed and what failed.

        :returns: the records of all changes.
        :raises PolicyExecutionError: a group failed, or nobody could be told; the other groups are done by then.
        """
        self.prepare()
        self.event = event
        client = local_session(self.manager.session_factory).client("ec2")
        self.live = LiveGroups(self.manager, client)
        self.applier = Applier(
            client, self.manager.retry, Author(self.manager.data["name"], time_text) if self.trace else None
        )

        outcomes: list[Outcome] = []
        try:
            for number, batch in enumerate(chunks(resources, GROUPS_A_CALL)):
                self.process_batch(batch, outcomes)
                looked_at = number * GROUPS_A_CALL + len(batch)
                self.log.info("%s: looked at %d of %d groups", self.type, looked_at, len(resources))
        except BaseException:  # somebody stops the run: what it has done by then is told all the same
            self.tell([outcome for outcome in outcomes if outcome.worth_telling])
            raise
        self.annotate(resources, outcomes)
        failures = [f"{outcome.group['GroupId']}: {text}" for outcome in outcomes for text in outcome.failures]
        failures += self.tell([outcome for outcome in outcomes if outcome.worth_telling])
        for failure in failures:
            self.log.error("%s: %s", self.type, failure)
        if failures:
            more = f" (and {len(failures) - 1} more, see the log)" if len(failures) > 1 else ""
            raise PolicyExecutionError(f"{self.type}: {failures[0]}{more}")
        return [record for outcome in outcomes for record in outcome.records]

    def process_batch(self, batch: Sequence[Mapping[str, Any]], outcomes: list[Outcome]) -> None:
        """Read up to 200 groups at once, and change the rules of those that still match."""
        try:
            readings = self.live.matching([group["GroupId"] for group in batch], self.event)
        except Exception as error:  # the other batches must still be done; told and raised at the end
            self.log.exception("%s: %d groups could not be read", self.type, len(batch))
            outcomes += [Outcome(group, failures=[f"could not be read: {error}"]) for group in batch]
            return
        for reading in readings:
            outcomes.append(Outcome(reading.group))
            self.process_group(reading, outcomes[-1])

    def process_group(self, reading: Reading, outcome: Outcome) -> None:
        """Change the rules of one group."""
        owner = reading.group["OwnerId"]
        if owner != self.manager.config.account_id:
            outcome.skipped = f"belongs to account {owner}, which shares its VPC: only that account can change it"
            return
        try:
            self.settle(reading, outcome)
        except Exception as error:  # the other groups must still be done; told and raised at the end
            self.log.exception("%s: %s failed", self.type, reading.group["GroupId"])
            outcome.failures.append(str(error))
        finally:
            self.finish(outcome)

    def settle(self, reading: Reading, outcome: Outcome) -> None:
        """Plan and apply until the group is as it should be, or has changed under our hands too often."""
        for look in range(1, LOOKS + 1):
            if self.attempt(reading, outcome) or look == LOOKS or self.preview:
                break
            time.sleep(look)  # EC2's answers may lag behind a change
            again = self.live.matching([reading.group["GroupId"]], self.event)
            if not again:  # deleted, exempted or closed meanwhile
                return
            reading = again[0]
        outcome.failures += outcome.undone

    def apply(self, todo: Plan, outcome: Outcome) -> bool:
        """Apply a plan, and record each change once it is made.

        :returns: whether nothing is left to be done: False if somebody changed the group meanwhile.
        """
        if self.preview:
            for change in previewed(todo):
                self.record(change, outcome)
            return True
        try:
            for result in self.applier.apply(outcome.group["GroupId"], todo):
                if isinstance(result, NoRoom):
                    outcome.crowded.append(result.replacement)
                    outcome.failures.append(self.no_room(result))
                elif isinstance(result, Untraced):
                    outcome.failures.append(f"what was added bears no trace for restore-ingress: {result.error}")
                else:
                    self.record(result, outcome)
        except Exception as error:
            code = error_code(error) if isinstance(error, ClientError) else None
            if code == GROUP_GONE:
                return True
            if self.applier.in_doubt:
                self.record_in_doubt(outcome)
            if code in CHANGED_MEANWHILE or code == NO_ROOM:
                return False
            raise
        return True

    def record_in_doubt(self, outcome: Outcome) -> None:
        """Record what a call has done whose answer did not arrive."""
        group_id = outcome.group["GroupId"]
        try:
            for look in range(1, LOOKS + 1):
                changes = list(as_they_stand(self.applier.in_doubt, self.live.rules([group_id])[group_id]))
                if changes or look == LOOKS:
                    break
                time.sleep(look)  # EC2's answers may lag behind a change
        except Exception as error:  # the first error is raised and told; this one must not take its place
            self.log.exception("%s: %s could not be read again", self.type, group_id)
            outcome.failures.append(f"whether EC2 made the last change could not be read: {error}")
            return
        for change in changes:
            self.record(change, outcome)

    def record(self, change: Change, outcome: Outcome) -> None:
        """Log a change at once: a run that breaks off writes no other trace of it."""
        group, config, rule = outcome.group, self.manager.config, change.rule
        record = {
            "account": config.account_id,
            "region": config.region,
            "vpc": group.get("VpcId"),
            "group": group["GroupId"],
            "group_name": group["GroupName"],
            "rule": change.rule_id,
            "protocol": rule.traffic.protocol,
            "ports": ports_text(rule.traffic),
            "was": change.was and str(change.was),
            "now": change.now and str(change.now),
            "description": rule.description,
            "how": self.deed.hows.get(change.how, change.how),
            "policy": self.manager.data["name"],
            "time": time_text(),
        }
        self.log.info(json.dumps(record))
        outcome.records.append(record)
        outcome.changes.append(change)

    # -- afterwards

    def annotate(self, resources: Sequence[dict[str, Any]], outcomes: Sequence[Outcome]) -> None:
        """Put the records on the resources, where later actions and their templates find them."""
        records = {outcome.group["GroupId"]: outcome.records for outcome in outcomes}
        for resource in resources:
            resource[self.deed.annotation] = records.get(resource["GroupId"], [])

    def tell(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Send what changed and what failed to where ``notify`` says.

        :returns: why it could not be sent, if so.
        """
        if "notify" not in self.data or not outcomes:
            return []
        config = self.manager.config
        text = subject(outcomes, self.deed, config.account_id, config.region, preview=self.preview)
        call = call_in(self.event)
        told = [outcome.told(self.deed, self.opened_by(call, outcome)) for outcome in outcomes]
        try:
            self.notify_action(subject=text).process(told, call and owner_event(call))
        except Exception as error:  # raised at the end, together with what else failed
            self.log.exception("%s: the notification could not be sent", self.type)
            return [f"the notification could not be sent: {error}"]
        return []

    def opened_by(self, call: Mapping[str, Any] | None, outcome: Outcome) -> str | None:
        """Say who opened the group, if the event is of a call that can be understood."""
        try:
            return opened_by(call, outcome.records) if call else None
        except Exception:  # what was changed must be told, whatever the call is like
            self.log.exception("%s: who called cannot be told", self.type)
            return None

    def notify_action(self, **defaults: str) -> Notify:
        """Give c7n's own action for what ``notify`` says."""
        return Notify({"type": "notify", **defaults, **self.data["notify"]}, self.manager)


def previewed(todo: Plan) -> list[Change]:
    """Give the changes of a plan as what would happen."""
    return [
        *(Change("preview", None, rule, None, source) for rule, source in todo.authorize),
        *(Change("preview", rule.id, rule, rule.source, source) for rule, source in todo.modify),
        *(Change("preview", rule.id, rule, rule.source, None) for rule in todo.revoke),
    ]


def time_text() -> str:
    """Say the time: ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
