"""The commands that messages carry: the actions write them, and the mailer shows no other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple


class Undo(NamedTuple):
    """What an undo is for: one group and one run, in a region, and where the run's records are."""

    group: str
    run: str
    region: str
    journal: Mapping[str, Any]


def undo_lines(undo: Undo) -> list[str]:
    """Return two lines: the first shows what the second then does.

    Each line writes a file of its own, so two of them in one folder at once do not meet. ``tee`` writes it, because
    a message for Slack holds no ``>``.
    """
    written = {"group": undo.group, "run": undo.run, "journal": dict(undo.journal)}
    lines = []
    for preview in (True, False):
        name = f"undo-{undo.group}-{undo.run[:8]}{'-preview' if preview else ''}.json"
        lines.append(
            f"echo {shlex.quote(json.dumps(written | {'preview': preview}))} | tee {name} && custodian run "
            f"--region {undo.region} -s out --vars-file {name} policies/restore-ingress.yml"
        )
    return lines


def authorize_line(request: Mapping[str, Any]) -> str:
    """Return the line that adds a network to a group.

    :param request: the arguments of ``AuthorizeSecurityGroupIngress``.
    """
    return f"aws ec2 authorize-security-group-ingress --cli-input-json '{json.dumps(request)}'"
