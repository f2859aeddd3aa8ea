"""Who opened a port, by the event in which CloudTrail recorded it.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from typing import Any

OWNER_KEYS = ("type", "arn", "principalId", "userName")
"""What c7n-mailer looks at to find the person for `event-owner` (`get_aws_username_from_event`)."""

MOST_CHARACTERS = 80
"""How many characters of the caller's words are shown."""


def call_in(event: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the call that CloudTrail recorded, if the event that a policy runs on is of one."""
    detail = (event or {}).get("detail")
    return detail if isinstance(detail, dict) and isinstance(detail.get("userIdentity"), dict) else None


def owner_event(call: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the part of the event by which c7n-mailer finds the person; None if c7n-mailer cannot find anyone."""
    identity = call["userIdentity"]
    if "principalId" not in identity:  # an AWS service, on which c7n-mailer raises KeyError
        return None
    return {"detail": {"userIdentity": {key: identity[key] for key in OWNER_KEYS if key in identity}}}


def opened_by(call: Mapping[str, Any], touched: Collection[str], records: Iterable[Mapping[str, Any]]) -> str:
    """Return in one sentence who called, when, from where and with what.

    :param touched: the ids of the rules that the call made or changed.
    :param records: what was replaced in its group. If none of it was touched, somebody else has opened the group, and
        the sentence does not say that this caller did.
    """
    verb = "Opened" if any(record["rule"] in touched for record in records if record["was"]) else "Changed"
    day, _, time = call["eventTime"].partition("T")
    return f"{verb} by {_who(call['userIdentity'])} on {day} at {time[:5]} UTC{_where(call)}{_how(call)}."


def _who(identity: Mapping[str, Any]) -> str:
    kind, arn = identity.get("type"), identity.get("arn", "")
    if kind == "Root":
        return "the root user"
    if kind == "AssumedRole":
        role, _, session = arn.partition(":assumed-role/")[2].partition("/")
        return f"the role {role}, in a session called {quoted(session)}"
    name = identity.get("userName") or arn.rpartition("/")[2] or identity.get("principalId")
    if name is None:
        return f"the AWS service {identity['invokedBy']}" if "invokedBy" in identity else f"a {kind}"
    return f"{name} (IAM user)" if kind == "IAMUser" else f"{name} ({kind})"


def _where(call: Mapping[str, Any]) -> str:
    """Return the address; AWS's services have a name instead, which adds nothing to the tool."""
    try:
        return f" from {ip_address(call.get('sourceIPAddress', ''))}"
    except ValueError:
        return ""


def _how(call: Mapping[str, Any]) -> str:
    if invoked_by := call["userIdentity"].get("invokedBy"):
        return f" through {invoked_by}"
    agent = call.get("userAgent")
    return f", by a client that calls itself {quoted(agent)}" if agent else ""


def quoted(text: str) -> str:
    """Return words that the caller chose, in quotes: a session's name and a user agent can say anything."""
    shown = "".join(letter if letter.isprintable() and letter not in '"<>' else "?" for letter in text)
    return f'"{shown[: MOST_CHARACTERS - 1]}…"' if len(shown) > MOST_CHARACTERS else f'"{shown}"'
