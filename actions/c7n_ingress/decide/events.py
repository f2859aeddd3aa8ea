"""Checks of an event of AWS Config or CloudTrail before a policy may run on it.

Cloud Custodian looks at some of its parts only after the policy's actions. An event of another kind, such as the one
that Lambda's console sends to try a function, is refused before that. So is one of another account or region: EC2 would
not show its groups here, and nothing would be closed.

https://docs.aws.amazon.com/config/latest/developerguide/evaluate-config_develop-rules_example-events.html
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from botocore.utils import parse_timestamp

KINDS: dict[type, str] = {str: "text", dict: "an object", datetime: "a time"}

WITHOUT_CONFIGURATION = frozenset({"ResourceDeleted", "ResourceNotRecorded", "ResourceDeletedNotRecorded"})
"""The statuses of items that have no configuration."""


class Here(NamedTuple):
    """Where the function runs."""

    account: str
    region: str


def check_config_event(event: object, here: Here) -> None:
    """Refuse an event that is not of AWS Config about a security group of this account and region."""
    try:
        item = _item(event)
    except ValueError as error:
        raise ValueError(
            f"this is not an event of AWS Config about a security group: {error}. To send one: "
            "aws configservice start-config-rules-evaluation --config-rule-names NAME"
        ) from None
    _check_place(here, item.get("awsAccountId"), item.get("awsRegion"))
    _check_place(here, (item.get("configuration") or {}).get("ownerId"), None)


def check_call_event(event: object, here: Here, calls: Collection[str]) -> None:
    """Refuse an event that is not of one of the calls that the policy is for, in this account and region."""
    try:
        call = _call(event, calls)
    except ValueError as error:
        raise ValueError(
            f"this is not an event of CloudTrail about {' or '.join(sorted(calls))}: {error}. EventBridge sends one "
            "after the call. To try it, open a group that nobody uses: "
            "aws ec2 authorize-security-group-ingress --group-id ID --protocol tcp --port 22 --cidr 0.0.0.0/0"
        ) from None
    _check_place(here, call.get("recipientAccountId"), call.get("awsRegion"))


def _call(event: Any, calls: Collection[str]) -> dict[str, Any]:
    _check(event, detail=dict)
    call: dict[str, Any] = event["detail"]
    _check(call, eventSource=str, eventName=str, eventTime=datetime, userIdentity=dict)
    if call["eventName"] not in calls:
        raise ValueError(f"eventName is {call['eventName']!r:.80}")
    return call


def _check_place(here: Here, account: object, region: object) -> None:
    """Refuse an event of another account or region; an event may leave these out."""
    for name, value, own in (("account", account, here.account), ("region", region, here.region)):
        if value not in (None, own):
            raise ValueError(
                f"the event is of {name} {value!r:.80}, and this function changes groups of account {here.account} and "
                f"region {here.region} only: deploy the policy there"
            )


def _item(event: Any) -> dict[str, Any]:
    _check(event, resultToken=str, invokingEvent=str)
    try:
        invoking = json.loads(event["invokingEvent"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"invokingEvent cannot be read ({error})") from None
    _check({"invokingEvent": invoking}, invokingEvent=dict)
    if "configurationItemSummary" in invoking:
        raise ValueError("its item is too large to be sent, so the daily policy looks at this group")
    _check(invoking, configurationItem=dict)
    item: dict[str, Any] = invoking["configurationItem"]
    if item.get("resourceType") != "AWS::EC2::SecurityGroup":
        raise ValueError(f"resourceType is {item.get('resourceType')!r:.80}")
    _check(item, resourceId=str, configurationItemStatus=str, configurationItemCaptureTime=datetime)
    if item["configurationItemStatus"] not in WITHOUT_CONFIGURATION and not event.get("eventLeftScope"):
        _check(item, configuration=dict)
        _check(item["configuration"], groupId=str)
    return item


def _check(whole: Any, **parts: type) -> None:
    """Refuse an object that lacks one of these parts, or in which it is of another kind."""
    for name, kind in parts.items():
        value = whole.get(name)
        if not (_is_time(value) if kind is datetime else isinstance(value, kind)):
            raise ValueError(f"{name} is {value!r:.80}, not {KINDS[kind]}")


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_timestamp(value))
    except (ValueError, OverflowError, RuntimeError):
        return False
