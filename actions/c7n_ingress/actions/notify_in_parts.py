"""The ``notify-in-parts`` action."""

from __future__ import annotations

import logging
from typing import Any

from c7n.actions.notify import Notify
from c7n.resources.vpc import SecurityGroup

from c7n_ingress.aws.history import PERMISSIONS, Histories
from c7n_ingress.aws.notify import KEYS, Notifier
from c7n_ingress.aws.read import MATCHED
from c7n_ingress.aws.settings import Checked, fill
from c7n_ingress.decide.checks import check_notify
from c7n_ingress.decide.message import MESSAGE_SIZE, as_fit, packed, size
from c7n_ingress.decide.reopened import RENEWED

log = logging.getLogger("custodian.actions")

ENTRIES_SIZE = 20_000
"""How many characters of JSON the entries of the register may take."""

TAGS_SIZE = 45_000
"""The same for the tags of a group: 50 tags in ASCII take half of it."""

RENEWALS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["tag", "days"],
    "properties": {"tag": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 2557}},
}
SCHEMA = {
    **Notify.schema,
    "anyOf": [{"required": ["type", "transport", who]} for who in ("to", "to_from")],
    "properties": {**KEYS, "type": {"enum": ["notify-in-parts"]}, "renewals": RENEWALS},
}


@SecurityGroup.action_registry.register("notify-in-parts")
class NotifyInParts(Checked, Notifier):
    """Report groups as c7n's own ``notify`` does, in as many messages as needed.

    ``notify`` assumes that compression halves any text, and fails if it does not. Then one group with long tags keeps
    all others from being reported. This action divides the groups among messages by their length. Of each group's
    rules, a message has only those that matched, as many as it holds.

    ``renewals`` reports for each group how often a tag's value was changed, by AWS Config's history of the group. A
    call spans seven days, and the ninety days before are read, too. So ``days: 90`` takes 26 calls for each group
    (https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html).

    After a filter ``exempt``, the first message also has the entries of the register that end within two weeks, those
    that match nothing open in the account and region, and those that were first made more than 180 days ago.

    :example:

    .. code-block:: yaml

        actions:
          - type: notify-in-parts
            to: ["arn:{partition}:sns:{region}:{account_id}:open-ingress"]
            template: open-ingress-exempt
            renewals: {tag: open-ingress-until, days: 90}
            transport: {type: sqs, queue: custodian-mailer}
    """

    schema_alias = False
    schema = SCHEMA

    def get_permissions(self) -> tuple[str, ...]:
        """Return the permissions that the action needs: what it looks up in AWS Config, too."""
        return (*super().get_permissions(), *(PERMISSIONS if "renewals" in self.data else ()))

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> None:
        """Report the groups."""
        fill(self, "notified nobody", check_notify)
        if "renewals" in self.data:
            histories = Histories(self)
            for group in resources:
                group[RENEWED] = histories.renewals(group["GroupId"], **self.data["renewals"])
        self.data["entries"] = self.entries()
        room = MESSAGE_SIZE - size(self.data["entries"])
        for part in packed(map(_fitting, resources), room):
            super().process(part, event)
            self.data["entries"] = {}  # the first message has them

    def entries(self) -> dict[str, Any]:
        """Return the entries of the register that somebody should look at, as many as fit, and how many more are."""
        found = [one for each in self.manager.iter_filters() for one in getattr(each, "to_look_at", ())]
        fitting = list(as_fit(found, ENTRIES_SIZE))
        return {"shown": fitting, "more": len(found) - len(fitting)} if found else {}


def _fitting(group: dict[str, Any]) -> dict[str, Any]:
    """Return a group without what no template reads: only the rules that matched and the tags, as many as fit."""
    shown = {key: value for key, value in group.items() if key not in ("IpPermissions", "IpPermissionsEgress")}
    shown["Tags"] = list(as_fit(group.get("Tags") or (), TAGS_SIZE))
    matched = shown.pop(MATCHED, [])
    fitting = list(as_fit(matched, MESSAGE_SIZE - ENTRIES_SIZE - size(shown)))
    if len(fitting) < len(matched):
        text = "%s: %d matched rules do not fit into a message, which reports %d of them"
        log.warning(text, group["GroupId"], len(matched), len(fitting))
    return {**shown, MATCHED: fitting}
