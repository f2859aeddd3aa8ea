"""What an event of AWS Config must be like before a policy may run on it.

Cloud Custodian looks at some of its parts only when the policy's actions have been taken. An event of another kind,
such as the one that Lambda's console sends to try a function, is refused before that.

https://docs.aws.amazon.com/config/latest/developerguide/evaluate-config_develop-rules_example-events.html
"""

from __future__ import annotations

import json
from typing import Any

from botocore.utils import parse_timestamp

KINDS: dict[type, str] = {str: "text", dict: "an object"}

GONE = frozenset({"ResourceDeleted", "ResourceNotRecorded", "ResourceDeletedNotRecorded"})
"""The statuses of items that have no configuration."""


def check_config_event(event: object) -> None:
    """Refuse what is no event of AWS Config about a security group.

    :raises ValueError: names what is wrong with it, and how to have a right one sent.
    """
    try:
        _check(event)
    except ValueError as error:
        raise ValueError(
            f"this is no event of AWS Config about a security group: {error}. To have one sent: "
            "aws configservice start-config-rules-evaluation --config-rule-names NAME"
        ) from None


def _check(event: Any) -> None:
    _part({"event": event}, "event", dict)
    _part(event, "resultToken", str)
    try:
        invoking = json.loads(_part(event, "invokingEvent", str))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"invokingEvent cannot be read ({error})") from None
    _part({"invokingEvent": invoking}, "invokingEvent", dict)
    if "configurationItemSummary" in invoking:
        raise ValueError("its item is too large to be sent, so the daily policy looks at this group")
    item = _part(invoking, "configurationItem", dict)
    if item.get("resourceType") != "AWS::EC2::SecurityGroup":
        raise ValueError(f"resourceType is {item.get('resourceType')!r:.80}")
    _part(item, "resourceId", str)
    if _part(item, "configurationItemStatus", str) not in GONE and not event.get("eventLeftScope"):
        _part(_part(item, "configuration", dict), "groupId", str)
    captured = _part(item, "configurationItemCaptureTime", str)
    try:
        parse_timestamp(captured)
    except (ValueError, OverflowError, RuntimeError):
        raise ValueError(f"configurationItemCaptureTime is {captured!r:.80}, not a time") from None


def _part(whole: Any, name: str, kind: type) -> Any:
    value = whole.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r:.80}, not {KINDS[kind]}")  # noqa: TRY004 - bad input, one kind of error
    return value
