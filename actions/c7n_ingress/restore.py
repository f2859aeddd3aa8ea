"""The ``restore-ingress`` action."""

from __future__ import annotations

from datetime import datetime, timezone

from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.action import LOOKS, NOTIFY_SCHEMA, IngressAction
from c7n_ingress.apply import NoRoom
from c7n_ingress.live import Reading
from c7n_ingress.outcome import RESTORED, Outcome
from c7n_ingress.restore_plan import MOST_DAYS, Restoration, exemption, restoration
from c7n_ingress.rules import text_of
from c7n_ingress.trace import EXEMPTION, KEYS, revoked_key


@SecurityGroup.action_registry.register("restore-ingress")
class RestoreIngress(IngressAction):
    """Undo what ``replace-ingress`` did to the groups, as the trace tells that it left in their tags.

    First, the groups are exempted for so many ``days``, 90 at most: tagged ``open-ingress-until`` with that day, or
    left with a later one that they have. Then the rules that were replaced become what they were, in place; those that
    were revoked come back, with their description, though under a new id and without their tags; the networks that were
    added go; and the trace is cleared. At no moment is less let in than before and after.

    A rule that somebody has changed since is left alone, and told of. ``preview: true`` tells what would change, and
    changes nothing; ``notify`` is as for ``replace-ingress``.

    :example:

    .. code-block:: yaml

        policies:
          - name: restore-ingress
            resource: aws.security-group
            filters:
              - GroupId: sg-0123456789abcdef0
            actions:
              - type: restore-ingress
                days: 30
                notify:
                  to: ["arn:{partition}:sns:{region}:{account_id}:open-ingress"]
                  template: open-ingress
                  transport: {type: sqs, queue: custodian-mailer}
    """

    schema = type_schema(
        "restore-ingress",
        required=["days"],
        days={"type": "integer", "minimum": 1, "maximum": MOST_DAYS},
        preview={"type": "boolean"},
        notify=NOTIFY_SCHEMA,
    )
    permissions = (*IngressAction.permissions, "ec2:DeleteTags")
    deed = RESTORED

    def check(self) -> None:
        """Refuse a policy that would open every group of an account again."""
        if not self.manager.filters:
            raise ValueError("the policy has no filter: name the groups that are to be restored, such as by GroupId")

    def attempt(self, reading: Reading, outcome: Outcome) -> bool:
        """Restore one group."""
        tags = {tag["Key"]: tag["Value"] for tag in reading.group.get("Tags", [])}
        todo = restoration(reading.rules, tags)
        outcome.left = todo.left
        if todo.is_empty:
            if not outcome.records:
                self.log.warning("restore-ingress: %s bears no trace of a change to undo", outcome.group["GroupId"])
            return True
        if not self.preview:
            self.exempt(outcome, tags.get(EXEMPTION))
        settled = self.apply(todo.turn, outcome) and self.apply(todo.follow, outcome)
        outcome.undone = [] if settled else [f"was changed by somebody else {LOOKS} times while it was being restored"]
        if settled and not self.preview:
            self.clear(todo, outcome)
        return settled

    def exempt(self, outcome: Outcome, present: str | None) -> None:
        """Have the policies leave the group alone: before anything is opened, or they would close it at once."""
        until = exemption(datetime.now(timezone.utc).date(), self.data["days"], present)
        if until != present:
            self.applier.tag([outcome.group["GroupId"]], {EXEMPTION: until})
        outcome.until = until

    def clear(self, todo: Restoration, outcome: Outcome) -> None:
        """Remove the trace that has served, with one call; what found no room keeps its own for the next time."""
        crowded = {addition.rule.match for addition in outcome.crowded}
        back = [revoked_key(rule.match) for rule in todo.revoked if rule.match not in crowded]
        rules = [rule.id for rule in todo.rules]
        ids = [*rules, *([outcome.group["GroupId"]] if back else [])]
        if ids:
            self.applier.untag(ids, [*(KEYS if rules else ()), *back])

    def no_room(self, result: NoRoom) -> str:
        """Say which rule does not come back, and what to do about it."""
        return (
            f"{text_of(result.replacement.rule.match)} found no room: the group has as many rules as EC2 allows; "
            "remove some, and restore it again"
        )
