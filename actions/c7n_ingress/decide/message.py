"""What came of each group, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from c7n_ingress.decide.packed import packed
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import Match, text_of

FAILED = "c7n:failed-ingress"
SKIPPED = "c7n:skipped-ingress"
LEFT = "c7n:left-ingress"
EXEMPT = "c7n:exempt-ingress"
OPENED = "c7n:opened-ingress"
WAITING = "c7n:waiting-ingress"
PREVIEW = "c7n:preview-ingress"
UNDO = "c7n:undo-ingress"
TODO = "c7n:todo-ingress"
EVIDENCE = "c7n:evidence-ingress"
EVIDENCE_READ = "c7n:evidence-read-ingress"
CUT = "c7n:cut-ingress"
BACK = "c7n:back-ingress"
"""The annotations under which templates find what is told of a group, besides the records."""

TOLD_KEYS = ("GroupId", "GroupName", "VpcId", "OwnerId", "Tags")
"""What a message says of a group besides; whole resources would not fit by the hundred."""

LISTS = (
    (FAILED, "failures"),
    (LEFT, "rules left alone"),
    (BACK, "rules that were back already"),
    (TODO, "commands"),
    (EVIDENCE, "rules' evidence"),
)
"""What can be long in a message besides the records."""

MESSAGE_SIZE = 180_000
"""How many characters of JSON a message holds.

SQS and SNS take 262,144 bytes: of what c7n makes of it, and of the text that the template makes of it
(https://docs.aws.amazon.com/general/latest/gr/sns.html). Compressed and in base64, no JSON gets longer than by a third.
"""

TAGS_SIZE = 4_000
"""How many characters of JSON a group's tags may take before they are cut."""


class Deed(NamedTuple):
    """What an action does to rules, in the words of records and messages."""

    annotation: str
    """Where templates find a group's records."""
    done: str
    open_side: str
    """Which source of a record is the open one: `was` or `now`."""
    beside: str
    """What else is done, in a message that tells of nothing but that."""
    hows: Mapping[str, str] = MappingProxyType({})
    """What a change is called, where it is not called what EC2 does: authorized, modified, revoked."""


REPLACED = Deed("c7n:replaced-ingress", "replaced", "was", "networks added")
RESTORED = Deed(
    "c7n:restored-ingress",
    "restored",
    "now",
    "networks removed",
    {"authorized": "restored", "modified": "restored", "revoked": "removed"},
)


@dataclass
class Outcome:
    """What was done to one group, what failed, and why it was passed over if it was."""

    group: Mapping[str, Any]
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)
    """The commands that do what failed, once what they need is there."""
    skipped: str | None = None
    left: Sequence[str] = ()
    """What was left alone, and why: somebody has changed it, or a prefix list cannot be read."""
    back: Sequence[Match] = ()
    """What an undo found in the group again already."""
    until: str | None = None
    """The day until which the group was exempted."""
    reopened: str | None = None
    """How often it was opened before."""
    evidence: Sequence[str] = ()
    """Who would be cut off: a sentence a rule."""
    evidence_read: str | None = None
    """What was read to find that out, of all groups."""

    @property
    def worth_telling(self) -> bool:
        """Whether anything changed, failed, was left alone or was passed over."""
        return bool(self.records or self.failures or self.left or self.skipped or self.back)

    def told(self, deed: Deed, **more: object) -> dict[str, Any]:
        """Give the group as a message's resource; `more` is told of it besides, by annotation."""
        resource = {key: self.group[key] for key in TOLD_KEYS if key in self.group}
        resource[deed.annotation] = self.records
        more |= {FAILED: self.failures, TODO: self.todo, SKIPPED: self.skipped, LEFT: self.left, EXEMPT: self.until}
        more |= {BACK: list(map(text_of, self.back))}
        more |= {EVIDENCE: self.evidence, EVIDENCE_READ: self.evidence_read}
        return resource | {key: value for key, value in more.items() if value}


def subject(outcomes: Iterable[Outcome], deed: Deed, where: str, *, preview: bool, waiting: int = 0) -> str:
    """Say in one line what came of all groups, with nothing in it that anybody could have typed.

    SNS takes fewer than 100 printable ASCII characters (``Publish``, parameter ``Subject``).

    :param where: the account's id and the region.
    :param waiting: how many groups more are open than were to be closed at once.
    """
    outcomes = list(outcomes)
    done = [n for each in outcomes if (n := sum(record[deed.open_side] is not None for record in each.records))]
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    skipped = sum(bool(outcome.skipped) for outcome in outcomes)
    until = min((outcome.until for outcome in outcomes if outcome.until), default=None)
    until = f" until {until}" if until else ""
    parts = []
    if done:
        would_be = "would be " if preview else ""
        parts.append(f"{_count(sum(done), 'rule')} {would_be}{deed.done} in {_count(len(done), 'group')}{until}")
    elif back := sum(len(outcome.back) for outcome in outcomes):
        parts.append(f"{_count(back, 'rule')} back already{until}")
    if failed:
        parts.append(f"{_count(failed, 'group')} failed")
    if waiting:
        parts.append(f"{waiting} still open")
    if skipped and len(parts) < 2:  # noqa: PLR2004 - more would not fit
        parts.append(f"{_count(skipped, 'group')} skipped")
    if len(parts) < 2 and (left := sum(len(outcome.left) for outcome in outcomes)):  # noqa: PLR2004 - likewise
        parts.append(f"{_count(left, 'rule')} left alone")
    return f"Open ingress: {', '.join(parts) or deed.beside} ({where})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def messages(resources: Iterable[dict[str, Any]], deed: Deed) -> Iterator[list[dict[str, Any]]]:
    """Part what is told into as few messages as hold it, each group cut to what one message holds."""
    return packed((_cut(resource, deed) for resource in resources), MESSAGE_SIZE, size)


def _cut(resource: dict[str, Any], deed: Deed) -> dict[str, Any]:
    """Cut what is told of a group to what one message holds: its tags first, then the ends of its lists."""
    tags = resource.get("Tags") or []
    kept = list(as_fit(tags, TAGS_SIZE))
    cut = [] if len(kept) == len(tags) else [f"{len(tags) - len(kept)} tags"]
    fitting = {**resource, "Tags": kept} if cut else dict(resource)
    room = MESSAGE_SIZE - TAGS_SIZE - size({key: value for key, value in fitting.items() if not _is_list(value)})
    for key, noun in ((deed.annotation, "changes"), *LISTS):
        whole = list(fitting.get(key, ()))
        part = list(as_fit(whole, room))
        room -= size(part)
        if len(part) < len(whole):
            fitting[key] = part
            cut.append(f"{len(whole) - len(part)} {noun}")
    return fitting | (
        {CUT: f"{' and '.join(cut)} did not fit into this message; the log has all changes"} if cut else {}
    )


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def as_fit(items: Iterable[Any], room: int) -> Iterator[Any]:
    """Give the first items that together have room."""
    for item in items:
        room -= size(item)
        if room < 0:
            return
        yield item


def size(value: object) -> int:
    """Give how many characters of JSON something takes."""
    return len(json.dumps(value, default=str))
