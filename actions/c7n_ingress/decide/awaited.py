"""What an event says about security groups, while EC2 may not show it yet.

EC2 is eventually consistent: what a call changed may not be visible to the next calls.
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from botocore.utils import parse_timestamp

from c7n_ingress.decide.rules import SOURCES, Match, Rule, matches_from, permission, source_from, traffic

log = logging.getLogger("custodian.actions")

RECENT = timedelta(seconds=60)
"""For how long after a change a group that does not show the change is read again, and then fails.

EC2's guide has no number. Lambda tries a failed event again after one minute, so what EC2 does not show then was
removed: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""


class Made(NamedTuple):
    """A rule that a call created or modified."""

    group: str
    rule: str
    permission: dict[str, Any] | None
    """What it lets in, as EC2 describes it, where the event says from which network or list."""
    is_new: bool
    """A new rule is an ingress rule, and a modified one may be an egress rule."""


@dataclass(frozen=True)
class Said:
    """What an event says about groups."""

    time: datetime
    """When EC2 changed the group, or showed the change to AWS Config."""
    made: Sequence[Made] = ()
    """The rules that a call made; none for AWS Config."""
    caller: str | None = None
    """The ARN of who made the call."""
    before: frozenset[Match] | None = None
    """What the group had before the item of AWS Config; None for a call."""
    added: frozenset[Match] | None = None
    """What the change before the item added; None where the item does not say what changed."""

    @cached_property
    def created(self) -> set[str]:
        """The ids of the rules that a call created."""
        return {each.rule for each in self.made if each.is_new}

    @cached_property
    def touched(self) -> set[str]:
        """The ids of the rules that a call created or modified."""
        return {each.rule for each in self.made}

    def is_recent(self, now: datetime) -> bool:
        """Whether EC2 may not show it yet."""
        return now - self.time < RECENT

    def opened_at(self, rule: Rule) -> datetime | None:
        """Return when a rule was opened, if the change that the event is about opened it."""
        is_added = self.before is not None and (self.added is None or rule.match in self.added)
        return self.time if is_added or rule.id in self.touched else None

    def lacks(
        self, group: Mapping[str, Any], wanted: Iterable[Match], now: Mapping[str, Any], rules: Iterable[Rule]
    ) -> list[Match]:
        """Return the rules that EC2 may not show yet; none where EC2 shows a state after the event.

        Such a state has a rule that the call created, even if it was changed since, or one that the group had neither
        in the item nor before it.

        :param group: the group as the event says that it is.
        :param wanted: which of its rules have to be there.
        :param now, rules: the group and its rules as EC2 shows them.
        """
        rules = list(rules)
        shown = {rule.match for rule in rules}
        permitted = matches_from(now.get("IpPermissions") or ())
        missing = [match for match in wanted if match not in shown or match not in permitted]
        if not missing or not self.created.isdisjoint(rule.id for rule in rules if rule.match not in missing):
            return []
        if self.before is not None and shown - self.before - matches_from(group.get("IpPermissions") or ()):
            return []
        return missing


def said_by(event: Mapping[str, Any] | None) -> Said | None:
    """Read an event of AWS Config, or of a call that CloudTrail recorded; None for another event."""
    if not event:
        return None
    if "invokingEvent" in event:
        return _of_item(json.loads(event["invokingEvent"]))
    call = event.get("detail")
    if isinstance(call, dict) and isinstance(call.get("eventTime"), str):
        return _of_call(call)
    return None


def with_opened(group: dict[str, Any], said: Said, egress: Collection[str]) -> dict[str, Any]:
    """Return a group with the ingress permissions that a call made, those that EC2 does not show yet included.

    :param egress: the ids of the group's egress rules; the request of ModifySecurityGroupRules does not say which are.
    """
    shown = matches_from(group.get("IpPermissions") or ())
    made = [each for each in said.made if each.group == group["GroupId"] and each.rule not in egress]
    hidden = [each.permission for each in made if each.permission and not matches_from([each.permission]) <= shown]
    return {**group, "IpPermissions": [*(group.get("IpPermissions") or ()), *hidden]} if hidden else group


# -- a call: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html


def _of_call(call: Mapping[str, Any]) -> Said:
    """Read a call. A part that cannot be read is logged and not waited for: the group is closed as EC2 shows it."""
    made: list[Made] = []
    try:
        made.extend(_made(call))
    except Exception:
        log.exception("the rules of the call %s cannot be read", call.get("eventName"))
    identity = call.get("userIdentity")
    arn = identity.get("arn") if isinstance(identity, dict) else None
    return Said(parse_timestamp(call["eventTime"]), made, arn if isinstance(arn, str) else None)


def _made(call: Mapping[str, Any]) -> Iterator[Made]:
    if call.get("eventName") == "AuthorizeSecurityGroupIngress":
        for rule in ((call.get("responseElements") or {}).get("securityGroupRuleSet") or {}).get("items") or ():
            if not rule.get("isEgress"):
                yield Made(rule["groupId"], str(rule["securityGroupRuleId"]), _permission(pascal(rule)), is_new=True)
    for request in _list((call.get("requestParameters") or {}).get("ModifySecurityGroupRulesRequest")):
        for update in _list(request.get("SecurityGroupRule")):
            rule = update.get("SecurityGroupRule") or {}
            yield Made(request["GroupId"], str(update.get("SecurityGroupRuleId")), _permission(rule), is_new=False)


def _permission(rule: Mapping[str, Any]) -> dict[str, Any] | None:
    source = rule.get("CidrIpv4") or rule.get("CidrIpv6") or rule.get("PrefixListId")
    if not source or "IpProtocol" not in rule:
        return None
    return {**{listing: [] for listing in SOURCES}, **permission(traffic(rule), source_from(source))}


def _list(value: Any) -> list[Any]:
    """Return a list: CloudTrail writes a list of one as an object."""
    return value if isinstance(value, list) else [value] if value else []


# -- an item: https://docs.aws.amazon.com/config/latest/developerguide/example-sns-notification.html


def _of_item(invoking: Mapping[str, Any]) -> Said:
    """Read an item of AWS Config, and what it replaced."""
    changed = (invoking.get("configurationItemDiff") or {}).get("changedProperties") or {}
    permissions = [each for key, each in changed.items() if key.split(".")[:2] == ["Configuration", "IpPermissions"]]
    before, after = (
        frozenset(
            match for each in permissions for value in _list(each.get(side)) for match in matches_from([of_item(value)])
        )
        for side in ("previousValue", "updatedValue")
    )
    captured = parse_timestamp(invoking["configurationItem"]["configurationItemCaptureTime"])
    return Said(captured, before=before, added=after - before if changed else None)


def of_item(permission: Mapping[str, Any]) -> dict[str, Any]:
    """Return a permission of an item as EC2 describes it: an item has IPv4 ranges as objects, and again as texts."""
    shape: dict[str, Any] = pascal(permission)
    texts = [each if isinstance(each, dict) else {"CidrIp": each} for each in shape.get("IpRanges") or ()]
    return {**shape, "IpRanges": shape.pop("Ipv4Ranges", None) or texts}


def pascal(value: Any) -> Any:
    """Return JSON with its keys written as EC2 writes them."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: pascal(each) for key, each in value.items()}
    return [pascal(each) for each in value] if isinstance(value, list) else value
