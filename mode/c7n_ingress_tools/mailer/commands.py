"""Which commands a message may show: those that the pack's own actions write, about the message's own group.

Anyone who may send to the queue can write a message. So a line is taken apart, each part is checked, the line is built
again from the parts, and is shown only if it is the same.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from c7n_ingress.decide.commands import Undo, authorize_line, replay_line, undo_line
from c7n_ingress.decide.openness import is_open
from c7n_ingress.decide.rules import matches_from, permission
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.mailer.typed import clean, listed

GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
RUN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-\d")
PLACE = re.compile(r"[\w./#][\w./#!@%+=,~:-]{0,4095}", re.ASCII)
"""How a place may be written: it is no option, and nothing in it means anything to a shell within single quotes."""

JOURNALS = ("/aws/lambda/custodian-open-ingress*", "file:///*/custodian-run.log")
"""Where records are, unless `journals` in mailer.yml names other places, too.

Not in S3: anybody can have a bucket, and write into it what an undo then believes.
"""

MOST_LINES = 8
MOST_LINE = 5_000  # characters: those of a place, and more than anything else that a line has


class Commands(NamedTuple):
    """Commands for one purpose."""

    label: str
    """What they are for: To undo."""
    lines: list[str]
    note: str = ""
    """Why commands of the message are not shown."""


def undo(resource: Mapping[str, Any], region: Any, journals: Iterable[str]) -> Commands:
    """Return the line that undoes what was done to a group, or why it is not shown.

    :param journals: the places where records may be besides JOURNALS; `*` matches anything.
    """
    label, lines = "To undo", listed(resource.get("c7n:undo-ingress"))
    try:
        asked = undo_of(lines[0]) if lines and isinstance(lines[0], str) else None
    except ValueError:
        asked = None
    if asked is None or [undo_line(asked)] != lines or (asked.group, asked.region) != (resource.get("GroupId"), region):
        return Commands(label, [], "the lines in the message are not the pack's own" if lines else "")
    if asked.journal and not any(fits(asked.journal, pattern) for pattern in (*JOURNALS, *journals)):
        why = "which the mailer does not know: add it to `journals` in its configuration"
        return Commands(label, [], f"the records are in {clean(asked.journal, 5000)}, {why}")
    return Commands(label, lines)


def undo_of(line: str) -> Undo:
    """Read an undo line.

    :raises ValueError: it is none.
    """
    _, _, group, _, run, _, region, *more = _words(line)
    _, journal = more or ("", None)
    for pattern, text in ((GROUP, group), (RUN, run), (REGION, region), (PLACE, journal)):
        if text is not None and not pattern.fullmatch(text):
            raise ValueError(f"{text!r:.80} is not what it should be")
    return Undo(group, run, region, journal)


def _words(line: str) -> list[str]:
    """Return the words of a line as a shell reads them. The time that shlex takes grows with the square of the length.

    :raises ValueError: it is none of the pack's.
    """
    if len(line) > MOST_LINE:
        raise ValueError(f"it has more than {MOST_LINE} characters")
    return shlex.split(line)


def fits(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern, in which `*` matches anything. Two slashes or dots in a row never fit it."""
    wanted = ".*".join(map(re.escape, pattern.split("*")))
    rest = text.partition("://")[2] or text
    return re.fullmatch(wanted, text) is not None and "//" not in rest and ".." not in rest


def additions(resource: Mapping[str, Any], region: Any) -> Commands:
    """Return the lines that add networks to a group for which it had no room."""
    lines, group = listed(resource.get("c7n:todo-ingress")), resource.get("GroupId")
    own = [line for line in lines if isinstance(line, str) and is_addition(line, group, region)][:MOST_LINES]
    more = len(lines) - len(own)
    note = f"{counted(more, 'more line')} in the message, not shown here" if more else ""
    return Commands("To add what is missing", own, note)


def is_addition(line: str, group: Any, region: Any) -> bool:
    """Whether a line adds one network to this group, and none that is open to the internet."""
    try:
        request = json.loads(_words(line)[-1])
        ((traffic, source),) = matches_from(request["IpPermissions"])
        again = {"GroupId": group, "IpPermissions": [permission(traffic, source)]}
        own = bool(GROUP.fullmatch(group) and REGION.fullmatch(region)) and authorize_line(again, region) == line
        return own and not isinstance(source, str) and not is_open(source)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return False


def again(region: Any) -> Commands:
    """Return the line that runs the functions again that failed in a region."""
    lines = [replay_line(region)] if isinstance(region, str) and REGION.fullmatch(region) else []
    return Commands("To run it again, once the reason is fixed", lines)
