"""The commands that messages carry: the actions write them, and the mailer shows no other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

LOG_GROUPS = tuple(
    f"/aws/lambda/custodian-open-ingress{policy}" for policy in ("", "-cloudtrail", "-daily", "-noticed")
)
"""Where the functions of the pack that change groups write their records."""


class Undo(NamedTuple):
    """What an undo is for: one group and one run, in a region, and where the run's records are."""

    group: str
    run: str
    region: str
    journal: str | None
    """A log group or a URL; None for the log groups of the pack's functions."""


def undo_line(undo: Undo) -> str:
    """Return the command that shows what would be undone, asks, and undoes it."""
    words = ["c7n-ingress", "undo", undo.group, "--run", undo.run, "--region", undo.region]
    return shlex.join([*words, *(["--journal", undo.journal] if undo.journal else [])])


def replay_line(region: str) -> str:
    """Return the command that runs the policies' functions again on the events on which they failed."""
    return shlex.join(["c7n-ingress", "replay", "--region", region])


def authorize_line(request: Mapping[str, Any], region: str) -> str:
    """Return the line that calls ``AuthorizeSecurityGroupIngress``, so that it adds a network to a group."""
    words = ["aws", "ec2", "authorize-security-group-ingress", "--region", region, "--cli-input-json"]
    return f"{shlex.join(words)} '{json.dumps(request)}'"
