"""The brake of policies that run on events: how many groups they change in an hour, all runs together.

A run changes one group, so what counts is in a DynamoDB table of the region. An item a clock hour (UTC) has the groups
that were changed in it. One conditional update adds a group, and fails if the hour is full. DynamoDB makes each update
in one step, so runs at the same moment never exceed the limit. A group that is there already does not count again:
Lambda tries an event again, and AWS Config sends some events twice.

A second kind of item notes that a group was reported as left open, for as long as Lambda tries an event.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/WorkingWithItems.html#WorkingWithItems.ConditionalUpdate
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from c7n_ingress.decide.commands import replay_line

TABLE = "custodian-open-ingress-brake"

EVENT_MODES = frozenset({"config-rule", "cloudtrail"})
"""The modes of policies that run once for each change of a group."""

FULL = "ConditionalCheckFailedException"
"""DynamoDB's error code for an update whose condition does not hold."""

HOUR = timedelta(hours=1)
"""For how long a group is reported once. Three attempts of 15 minutes, and the minutes between them, take less."""

KEPT = timedelta(hours=3)
"""After which time DynamoDB may delete an item."""

Request = dict[str, Any]


def counted(group_id: str, at_most: int, now: datetime) -> Request:
    """Return the update that counts a group in this hour; it fails if the hour has as many groups already."""
    return _update(
        f"{now:%Y-%m-%dT%H}",
        "ADD #groups :groups SET #expires = :expires",
        "attribute_not_exists(#groups) OR size(#groups) < :most OR contains(#groups, :group)",
        groups={"SS": [group_id]},
        group={"S": group_id},
        most={"N": str(at_most)},
        expires=_seconds(now + KEPT),
    )


def reported(group_id: str, now: datetime) -> Request:
    """Return the update that notes a group as reported; it fails if that was noted within the last hour."""
    return _update(
        group_id,
        "SET #reported = :now, #expires = :expires",
        "attribute_not_exists(#reported) OR #reported < :before",
        now=_seconds(now),
        before=_seconds(now - HOUR),
        expires=_seconds(now + KEPT),
    )


def not_reported(group_id: str) -> Request:
    """Return the update that takes that note back."""
    return _update(group_id, "REMOVE #reported")


def _update(key: str, update: str, condition: str = "", **values: dict[str, Any]) -> Request:
    """Return an update of an item; a name after # is an attribute's, one after : is a value's."""
    names = {f"#{name}": name for name in re.findall(r"#(\w+)", update + condition)}
    request = {
        "TableName": TABLE,
        "Key": {"id": {"S": key}},
        "UpdateExpression": update,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
    }
    return {name: value for name, value in request.items() if value}


def _seconds(time: datetime) -> dict[str, str]:
    return {"N": str(int(time.timestamp()))}


def left_open(at_most: int, region: str, now: datetime) -> str:
    """Return that a group is left open because the hour is full, and what to do about it."""
    return (
        f"at-most is {at_most}, and as many groups were changed from {now:%H}:00 to {now + HOUR:%H}:00 UTC. So this "
        "group was not changed. Look at what was closed in this hour. If that was right, run "
        f"{replay_line(region)} after {now + HOUR:%H}:00 UTC, or raise at-most and deploy the policy "
        "again. The daily policy closes the worst groups first"
    )


def not_counted(why: str) -> str:
    """Return that a group was changed though it could not be counted."""
    return f"at-most was not applied, because the table {TABLE} could not count this group: {why}"
