"""The ``restore-ingress`` action."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from c7n.actions import EventAction
from c7n.exceptions import ClientError
from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.aws import journal, notify
from c7n_ingress.aws.calls import GONE, client_of, error_code, said
from c7n_ingress.aws.job import Job
from c7n_ingress.aws.read import Reading
from c7n_ingress.aws.run import PERMISSIONS, run
from c7n_ingress.aws.settings import checking, fill
from c7n_ingress.decide.checks import check_notify, or_unfilled
from c7n_ingress.decide.exemptions import MOST_DAYS, TAG
from c7n_ingress.decide.message import RESTORED, Outcome
from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import text_of
from c7n_ingress.decide.undo import exemption, fold, restoration

log = logging.getLogger("custodian.actions")


@SecurityGroup.action_registry.register("restore-ingress")
class RestoreIngress(EventAction):
    """Undo what ``replace-ingress`` did to the groups, by its records.

    ``from`` names the journal: the log groups of deployed policies, or the URL of a local run's log (``file:`` or
    ``s3:``). Its key ``since`` leaves out what is older (ISO 8601). ``run`` names one run. A rule is restored only if
    it is still exactly as the run left it (source, description, tags). Other rules are left alone and reported.

    First, the groups are exempted for ``days``, 90 at most, by the tag ``open-ingress-until``. Then the rules that were
    replaced become what they were, in place. Rules that were revoked are added again with their description and tags,
    but with a new id. Last, the rules that were added beside them are removed. If nothing is restored, the tag gets its
    former value back. A group that is open again already keeps its exemption.

    Without ``preview: false``, the action logs what would change, changes nothing and notifies nobody. ``notify`` takes
    the same keys as in ``replace-ingress``.

    :example:

    .. code-block:: yaml

        filters:
          - {type: named, groups: [sg-0123456789abcdef0]}
        actions:
          - type: restore-ingress
            from: {log-groups: [/aws/lambda/custodian-open-ingress], since: "2026-11-24T09:00:00Z"}
            days: 30
            preview: false
            notify:
              to: ["arn:{partition}:sns:{region}:{account_id}:open-ingress"]
              template: open-ingress
              transport: {type: sqs, queue: custodian-mailer}
    """

    schema = type_schema(
        "restore-ingress",
        required=["from", "days"],
        **{
            "from": journal.SCHEMA,
            "run": {"type": "string"},
            "days": or_unfilled({"type": "integer", "minimum": 1, "maximum": MOST_DAYS}),
            "preview": {"type": "boolean"},
            "notify": notify.SCHEMA,
        },
    )
    permissions = (*PERMISSIONS, "ec2:CreateTags", "ec2:DeleteTags", "logs:FilterLogEvents")

    def get_permissions(self) -> tuple[str, ...]:
        """Return the permissions that the action needs, its notification included."""
        return (*self.permissions, *(notify.notifier(self).get_permissions() if "notify" in self.data else ()))

    # -- before anything runs

    def validate(self) -> None:
        """Refuse a policy that would open every group of an account again, and texts that are no time."""
        with checking(self):
            if not self.manager.filters:
                raise ValueError("the policy has no filter: name the groups that are to be restored")
            if isinstance(self.data["from"], dict):
                journal.since_of(self.data["from"])
            if "notify" in self.data:
                check_notify(self.data["notify"])
                notify.notifier(self).validate()

    # -- the run

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[Record]:
        """Restore each group, report what changed and what failed, and return the records of all changes.

        :raises PolicyExecutionError: the journal has no records, a group failed, or nobody could be notified; the other
            groups are done by then.
        """
        fill(self, "changed nothing")
        if self.data.setdefault("preview", True):
            self.data.pop("notify", None)
        groups = [group["GroupId"] for group in resources]
        found = journal.read(self.manager, self.data["from"], groups, self.data.get("run"))
        nets = {group: fold(found.entries.get(group, ())) for group in groups}  # before a reading: it is short-lived

        def plan(reading: Reading) -> Plan:
            group_id = reading.group["GroupId"]
            todo = restoration(reading.rules, nets[group_id])
            return todo._replace(left=[*todo.left, *found.unreadable_of(group_id)])

        return run(Job(self, RESTORED, plan, no_room, self.exempt, self.withdraw), resources, event)

    def exempt(self, outcome: Outcome) -> None:
        """Exempt the group before anything is opened: the policies would close it at once."""
        present = exemption_of(outcome.group)
        until = exemption(datetime.now(timezone.utc).date(), self.data["days"], present)
        if until not in (present, outcome.until):
            outcome.until = until  # before the call: if somebody stops the run during it, the tag may be there
            try:
                self.tag("create_tags", outcome, until)
            except ClientError:
                outcome.until = None
                raise
        outcome.until = until

    def withdraw(self, outcome: Outcome) -> None:
        """Set the tag to its former value if nothing was restored, so that the policies still close the group."""
        until, former = outcome.until, exemption_of(outcome.group)
        if until in (None, former) or outcome.back or any(record["now"] for record in outcome.records):
            return
        call, value = ("delete_tags", until) if former is None else ("create_tags", former)
        try:
            self.tag(call, outcome, value)
        except Exception as error:  # why the undo failed is reported, too
            if isinstance(error, ClientError) and error_code(error) in GONE:
                return
            log.exception("the exemption of %s could not be taken back", outcome.group["GroupId"])
            todo = "remove the tag" if former is None else f"set it to {former!r}"
            outcome.failures.append(
                f"nothing was restored, and {TAG} = {until} could not be taken back ({said(error)}): {todo}"
            )
        else:
            outcome.until = None
            outcome.failures.append(f"nothing was restored, so {TAG} = {until} was taken back")

    def tag(self, call: str, outcome: Outcome, value: str | None) -> None:
        """Create or delete the tag that exempts a group."""
        client = client_of(self.manager)
        tags = [{"Key": TAG, "Value": value}]
        self.manager.retry(getattr(client, call), Resources=[outcome.group["GroupId"]], Tags=tags)


def exemption_of(group: Mapping[str, Any]) -> str | None:
    """Return the value of the group's tag that exempts it, valid or not."""
    return {tag["Key"]: tag["Value"] for tag in group.get("Tags", [])}.get(TAG)


def no_room(missing: Replacement, _group_id: str) -> tuple[str, None]:
    """Return which rule is not restored, and what to do about it."""
    return (
        f"{text_of(missing.rule.match)} found no room: the group had as many rules as EC2 allows. "
        "If it still has, remove some; then restore it again"
    ), None
