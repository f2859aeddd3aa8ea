"""Which commands a message may show: those that the pack's own actions write, about the message's own group.

Anyone who may send to the queue can write a message. So a line is taken apart, each part is checked, the line is built
again from the parts, and is shown only if it is the same.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from c7n_ingress.decide.commands import Undo, authorize_line, undo_line
from c7n_ingress.decide.openness import is_open
from c7n_ingress.decide.rules import matches_from, permission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jinja2 import Environment

GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
RUN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-\d")
PLACE = re.compile(r"[\w./#][\w./#!@%+=,~:-]{0,4095}", re.ASCII)
"""How a place may be written: it is no option, and nothing in it means anything to a shell within single quotes."""

JOURNALS = ("/aws/lambda/custodian-open-ingress*", "file:///*/custodian-run.log")
"""Where records are, unless `journals` in mailer.yml names other places, too.

Not in S3: anybody can have a bucket, and write into it what an undo then believes.
"""


def with_filters(environment: Callable[[list[str]], Environment]) -> Callable[[list[str]], Environment]:
    """Return a function that makes Jinja's environment with the filters that the templates need."""

    def make(folders: list[str]) -> Environment:
        made = environment(folders)
        set_journals(made, ())
        made.filters["todo_lines"] = todo_lines
        return made

    return make


def set_journals(environment: Environment, journals: Iterable[str]) -> None:
    """Let the templates show undo lines for journals in these places, too."""
    environment.filters["undo_lines"] = partial(shown_undo, journals=(*JOURNALS, *journals))


def shown_undo(resource: dict, region: Any, journals: Iterable[str] = JOURNALS) -> dict[str, Any]:
    """Return the lines that undo what was done to a group, and what to say of lines that are not shown.

    :param journals: the places where records may be; `*` stands for anything.
    """
    lines = resource.get("c7n:undo-ingress") or []
    first = lines[0] if isinstance(lines, list) and lines and isinstance(lines[0], str) else ""
    try:
        undo = undo_of(first)
    except ValueError:
        undo = None
    if undo is None or [undo_line(undo)] != lines or (undo.group, undo.region) != (resource.get("GroupId"), region):
        return {"lines": [], "note": "the lines in the message are not the pack's own" if lines else ""}
    if undo.journal and not any(fits(undo.journal, pattern) for pattern in journals):
        why = "which the mailer does not know: add it to `journals` in its configuration"
        return {"lines": [], "note": f"the records are in {undo.journal}, {why}"}
    return {"lines": lines, "note": ""}


def undo_of(line: str) -> Undo:
    """Read an undo line.

    :raises ValueError: it is none.
    """
    _, _, group, _, run, _, region, *more = shlex.split(line)
    _, journal = more or ("", None)
    for pattern, text in ((GROUP, group), (RUN, run), (REGION, region), (PLACE, journal)):
        if text is not None and not pattern.fullmatch(text):
            raise ValueError(f"{text!r:.80} is not what it should be")
    return Undo(group, run, region, journal)


def fits(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern, in which `*` stands for anything; two slashes or dots in a row never fit it."""
    wanted = ".*".join(map(re.escape, pattern.split("*")))
    rest = text.partition("://")[2] or text
    return re.fullmatch(wanted, text) is not None and "//" not in rest and ".." not in rest


def todo_lines(resource: dict) -> list[str]:
    """Return the lines that add networks to a group for which it had no room."""
    lines = resource.get("c7n:todo-ingress") or []
    return [line for line in lines if isinstance(line, str) and is_addition(line, resource.get("GroupId"))]


def is_addition(line: str, group: Any) -> bool:
    """Whether a line adds one network to this group, and none that is open to the internet."""
    try:
        request = json.loads(shlex.split(line)[-1])
        ((traffic, source),) = matches_from(request["IpPermissions"])
        again = {"GroupId": group, "IpPermissions": [permission(traffic, source)]}
        own = bool(GROUP.fullmatch(group)) and authorize_line(again) == line
        return own and not isinstance(source, str) and not is_open(source)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return False
