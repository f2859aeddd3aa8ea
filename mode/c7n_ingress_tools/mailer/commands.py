"""Which commands a message may show: those that the pack's own actions write, about the message's own group.

Anyone who may send to the queue can write a message. So each part of a line is checked, and the line is shown only
if the pack writes the same of these parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from c7n_ingress.decide.commands import Undo, authorize_line, replay_line, undo_line
from c7n_ingress.decide.openness import is_open
from c7n_ingress.decide.rules import matches_from, permission
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.mailer.typed import clean, listed

GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-\d")
UNDO = re.compile(
    rf"c7n-ingress undo (?P<group>{GROUP.pattern}) --run (?P<run>[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})"
    rf" --region (?P<region>{REGION.pattern})( --journal '?(?P<journal>[\w./#][\w./#!@%+=,~:-]{{0,4095}})'?)?",
    re.ASCII,
)
"""An undo line. Its journal is no option, and nothing in it means anything to a shell within single quotes."""

JOURNALS = ("/aws/lambda/custodian-open-ingress*", "file:///*/custodian-run.log")
"""Where records are, unless `journals` in mailer.yml names other places, too.

Not in S3: anybody can have a bucket, and write into it what an undo then believes.
"""

MOST_LINES = 8


class Commands(NamedTuple):
    """Commands for one purpose."""

    label: str
    """What they are for: To undo."""
    lines: list[str]
    note: str = ""
    """Why commands of the message are not shown."""


def undo(resource: Mapping[str, Any], region: Any, journals: Iterable[str]) -> Commands | None:
    """Return the line that undoes what was done to a group, or why it is not shown.

    :param journals: the places where records may be besides JOURNALS; `*` matches anything.
    """
    lines, note = listed(resource.get("c7n:undo-ingress")), ""
    if not lines:
        return None
    match = UNDO.fullmatch(str(lines[0]))
    asked = match and Undo(*match.group("group", "run", "region", "journal"))
    if asked is None or [undo_line(asked)] != lines or (asked.group, asked.region) != (resource.get("GroupId"), region):
        note = "the lines in the message are not the pack's own"
    elif asked.journal and not any(fits(asked.journal, pattern) for pattern in (*JOURNALS, *journals)):
        why = "which the mailer does not know: add it to `journals` in its configuration"
        note = f"the records are in {clean(asked.journal, 5000)}, {why}"
    return Commands("To undo", [] if note else lines, note)


def fits(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern, in which `*` matches anything. Two slashes or dots in a row never fit it."""
    wanted = ".*".join(map(re.escape, pattern.split("*")))
    rest = text.partition("://")[2] or text
    return re.fullmatch(wanted, text) is not None and "//" not in rest and ".." not in rest


def additions(resource: Mapping[str, Any], region: Any) -> Commands | None:
    """Return the lines that add networks to a group for which it had no room."""
    lines, group = listed(resource.get("c7n:todo-ingress")), resource.get("GroupId")
    own = [line for line in lines if isinstance(line, str) and is_addition(line, group, region)][:MOST_LINES]
    more = len(lines) - len(own)
    note = f"{counted(more, 'more line')} in the message, not shown here" if more else ""
    return Commands("To add what is missing, if these networks are yours", own, note) if lines else None


def is_addition(line: str, group: Any, region: Any) -> bool:
    """Whether a line adds one network to this group, and none that is open to the internet."""
    try:
        request = json.loads(line.partition("'")[2].removesuffix("'"))
        ((traffic, source),) = matches_from(request["IpPermissions"])
        again = {"GroupId": group, "IpPermissions": [permission(traffic, source)]}
        own = bool(GROUP.fullmatch(group) and REGION.fullmatch(region)) and authorize_line(again, region) == line
        return own and not isinstance(source, str) and not is_open(source)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return False


def again(region: str) -> Commands | None:
    """Return the line that runs the functions again that failed in a region."""
    if not REGION.fullmatch(region):
        return None
    return Commands("To run it again, once the reason is fixed", [replay_line(region)])
