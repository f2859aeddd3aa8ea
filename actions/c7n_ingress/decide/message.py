"""The result of each group, and how it is reported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from c7n_ingress.decide import exemptions, states
from c7n_ingress.decide.awaited import Said
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import Match, Traffic, ports_text, text_of
from c7n_ingress.decide.states import State, States, counted

STATE = "c7n:state-ingress"
FAILED = "c7n:failed-ingress"
LACKING = "c7n:lacking-ingress"
SKIPPED = "c7n:skipped-ingress"
LEFT = "c7n:left-ingress"
NOTED = "c7n:noted-ingress"
EXEMPT = exemptions.ANNOTATION
OPENED = "c7n:opened-ingress"
WAITING = "c7n:waiting-ingress"
PREVIEW = "c7n:preview-ingress"
UNDO = "c7n:undo-ingress"
TODO = "c7n:todo-ingress"
CUT = "c7n:cut-ingress"
BACK = "c7n:back-ingress"
"""The annotations under which templates find what is reported about a group, besides the records."""

SHOWN_KEYS = ("GroupId", "GroupName", "VpcId", "OwnerId", "Tags")
"""The keys of a group that a message has; hundreds of whole resources would not fit."""

LISTS = (  # what can be long in a message besides the records
    (FAILED, "failures"),
    (LACKING, "networks that could not be added"),
    (LEFT, "rules left alone"),
    (BACK, "rules that were back already"),
    (TODO, "commands"),
)

MESSAGE_SIZE = 180_000
"""How many characters of JSON a message holds.

SQS and SNS take 262,144 bytes: for what c7n makes of it, and for the text that the template makes of it
(https://docs.aws.amazon.com/general/latest/gr/sns.html). Compressed and in base64, no JSON gets longer than by a third.
"""

SUBJECT_SIZE = 99
"""SNS takes fewer than 100 printable ASCII characters (`Publish`, parameter `Subject`)."""

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
    """What else is done, for a message that reports nothing but that."""
    states: States
    """What it calls a group afterwards."""
    hows: Mapping[str, str] = {}
    """What a change is called, where it is not called what EC2 does: authorized, modified, revoked."""


REPLACED = Deed("c7n:replaced-ingress", "replaced", "was", "networks added", states.CLOSING)
RESTORED = Deed(
    "c7n:restored-ingress",
    "restored",
    "now",
    "networks removed",
    states.RESTORING,
    {"authorized": "restored", "modified": "restored", "revoked": "removed"},
)


@dataclass
class Outcome:
    """What was done to one group, what failed, and why it was skipped if it was."""

    group: Mapping[str, Any]
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Why the group, or a rule of it, is as it was."""
    lacking: list[str] = field(default_factory=list)
    """What could not be added to the group, though it was changed: authorized networks, whose clients are blocked."""
    todo: list[str] = field(default_factory=list)
    """The commands that add what is lacking, once there is room."""
    skipped: str | None = None
    left: Sequence[str] = ()
    """What was left alone, and why: somebody has changed it, or a prefix list cannot be read."""
    back: Sequence[Match] = ()
    """What was in the group again before an undo."""
    until: str | None = None
    """The day until which the group was exempted."""
    reopened: str | None = None
    """How often it was opened before."""
    said: Said | None = None
    """What the event of the run says about groups."""
    noted: list[str] = field(default_factory=list)
    """What people must know of a group that is changed: one sentence each."""
    unfinished: list[str] = field(default_factory=list)
    """What failed after the group was closed: one sentence each."""

    @property
    def is_reported(self) -> bool:
        """Whether anything changed, failed, is lacking, was left alone, was back or was skipped."""
        return bool(self.records or self.failures or self.lacking or self.left or self.skipped or self.back)

    def state(self, deed: Deed, *, preview: bool) -> State:
        """Return the state in which the run leaves the group: not closed as long as one of its rules may be open."""
        of = deed.states
        if self.skipped and not self.failures:
            return states.SKIPPED
        if deed is RESTORED and self.records and not preview:  # some of what was replaced is back
            return of.partly if self.failures or self.lacking or self.left else of.done
        if self.failures or self.left or (self.lacking and deed is RESTORED):
            return of.undone
        if preview:
            return of.foreseen
        return of.partly if self.lacking else of.done

    def errors(self, deed: Deed) -> list[str]:
        """Return what a person has to act on: what failed, and what a changed group lacks."""
        partly, lacking = deed.states.partly, self.lacking
        if self.state(deed, preview=False) == partly:
            lacking = [f"{partly.said(text)}. {partly.todo}" for text in lacking]
        elif deed is RESTORED:  # what found no room is the reason for what failed after it
            return [*lacking, *self.failures]
        return [*self.failures, *lacking, *self.unfinished]

    def as_resource(self, deed: Deed, **more: object) -> dict[str, Any]:
        """Return the group as a message's resource, with `more` about it, by annotation."""
        resource = {key: self.group[key] for key in SHOWN_KEYS if key in self.group}
        resource[deed.annotation] = [  # no template reads a rule's tags, which are in the log
            {key: value for key, value in record.items() if key != "tags"} for record in self.records
        ]
        resource[STATE] = self.state(deed, preview=bool(more.get(PREVIEW)))._asdict()
        more |= {FAILED: self.failures, LACKING: self.lacking, TODO: self.todo, SKIPPED: self.skipped}
        more |= {LEFT: self.left, EXEMPT: self.until, BACK: list(map(text_of, self.back))}
        return resource | {key: value for key, value in more.items() if value}


def lack(network: object, traffic: Traffic) -> str:
    """Return in words that a group lacks a network for some traffic."""
    return f"{network} could not be added for {traffic.protocol} {ports_text(traffic)}"


def lack_in(failure: str) -> str | None:
    """Return an error of :meth:`Outcome.errors` without its fix, if it says that a closed group lacks a network."""
    partly = states.CLOSING.partly
    fix = f". {partly.todo}"
    return failure.removesuffix(fix) if failure.startswith(partly.said("")) and failure.endswith(fix) else None


def subject(outcomes: Iterable[Outcome], deed: Deed, where: str, *, preview: bool, waiting: int = 0) -> str:
    """Return in one line what became of all groups, the most urgent first, without any text that somebody typed.

    :param where: the account's id and the region.
    :param waiting: how many more groups are open than the run may close.
    """
    outcomes = list(outcomes)
    done = [n for each in outcomes if (n := sum(record[deed.open_side] is not None for record in each.records))]
    of_state = Counter(outcome.state(deed, preview=preview) for outcome in outcomes)
    of_state[deed.states.undone] += waiting
    groups = {state: number and f"{counted(number, 'group')} {state.counted}" for state, number in of_state.items()}
    back = sum(len(outcome.back) for outcome in outcomes)
    until = min((f" until {outcome.until}" for outcome in outcomes if outcome.until), default="")
    changed = f"{counted(sum(done), 'rule')} {'would be ' if preview else ''}{deed.done}"
    parts = [
        groups.get(deed.states.undone),
        groups.get(deed.states.partly),
        done and f"{changed} in {counted(len(done), 'group')}{until}",
        not done and back and f"{counted(back, 'rule')} back already{until}",
        groups.get(states.SKIPPED),
    ]
    said = [part for part in parts if part] or [deed.beside]
    # What does not fit is left out, the least urgent first.
    lines = [f"Open ingress: {', '.join(said[:number])} ({where})" for number in range(len(said), 0, -1)]
    return next((line for line in lines if len(line) <= SUBJECT_SIZE), lines[-1])


def messages(resources: Iterable[dict[str, Any]], deed: Deed) -> Iterator[list[dict[str, Any]]]:
    """Divide resources into as few messages as possible, each group cut to what one message holds."""
    return packed((_cut(resource, deed) for resource in resources), MESSAGE_SIZE)


def _cut(resource: dict[str, Any], deed: Deed) -> dict[str, Any]:
    """Cut a group to what one message holds: its tags first, then the ends of its lists."""
    fitting, cut = dict(resource), []
    room = MESSAGE_SIZE - size({key: value for key, value in resource.items() if not isinstance(value, list | tuple)})
    for key, noun in (("Tags", "tags"), (deed.annotation, "changes"), *LISTS):
        whole = list(resource.get(key) or ())
        part = list(as_fit(whole, TAGS_SIZE if key == "Tags" else room))
        room -= size(part)
        if len(part) < len(whole):
            fitting[key] = part
            cut.append(f"{len(whole) - len(part)} {noun}")
    if cut:
        fitting[CUT] = f"{' and '.join(cut)}. This message has no room for more. The log has all changes."
    return fitting


def packed(items: Iterable[Any], room: int) -> Iterator[list[Any]]:
    """Return lists of items, in order, whose sizes together have room; too large an item is a list by itself."""
    some: list[Any] = []
    taken = 0
    for item in items:
        length = size(item)
        if some and taken + length > room:
            yield some
            some, taken = [], 0
        some.append(item)
        taken += length
    if some:
        yield some


def as_fit(items: Iterable[Any], room: int) -> Iterator[Any]:
    """Return the first items that together have room."""
    for item in items:
        room -= size(item)
        if room < 0:
            return
        yield item


def size(value: object) -> int:
    """Return how many characters of JSON a value takes."""
    return len(json.dumps(value, default=str))
