"""What came of one group: its records, its failures, and how they are told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from c7n_ingress.apply import Change
from c7n_ingress.plan import Replacement

FAILED = "c7n:failed-ingress"
SKIPPED = "c7n:skipped-ingress"
LEFT = "c7n:left-ingress"
EXEMPT = "c7n:exempt-ingress"
OPENED = "c7n:opened-ingress"
"""The annotations under which templates find what is told of a group, besides the records."""

TOLD_KEYS = ("GroupId", "GroupName", "VpcId", "OwnerId", "Tags")
"""What a message says of a group besides; whole resources would not fit by the hundred."""

Record = dict[str, Any]


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
    skipped: str | None = None
    left: Sequence[str] = ()
    """What was left alone, and why: somebody has changed it, or a prefix list cannot be read."""
    until: str | None = None
    """The day until which the group was exempted."""

    changes: list[Change] = field(default_factory=list)
    """What the records tell of."""
    crowded: list[Replacement] = field(default_factory=list)
    """What found no room."""
    undone: Sequence[str] = ()
    """What the last look at the group left undone."""

    @property
    def worth_telling(self) -> bool:
        """Whether anything changed, failed, was left alone or was passed over."""
        return bool(self.records or self.failures or self.left or self.skipped)

    def told(self, deed: Deed, opened_by: str | None = None) -> dict[str, Any]:
        """Give the group as a message's resource, and who opened it if that is known."""
        resource = {key: self.group[key] for key in TOLD_KEYS if key in self.group}
        resource[deed.annotation] = self.records
        more = {FAILED: self.failures, SKIPPED: self.skipped, LEFT: self.left, EXEMPT: self.until, OPENED: opened_by}
        return resource | {key: value for key, value in more.items() if value}


def subject(outcomes: Iterable[Outcome], deed: Deed, account: str, region: str, *, preview: bool) -> str:
    """Say in one line what came of all groups, with nothing in it that anybody could have typed.

    SNS takes fewer than 100 printable ASCII characters (``Publish``, parameter ``Subject``).
    """
    outcomes = list(outcomes)
    done = [n for each in outcomes if (n := sum(record[deed.open_side] is not None for record in each.records))]
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    skipped = sum(bool(outcome.skipped) for outcome in outcomes)
    parts = []
    if done:
        would_be = "would be " if preview else ""
        until = min((outcome.until for outcome in outcomes if outcome.until), default=None)
        parts.append(
            f"{_count(sum(done), 'rule')} {would_be}{deed.done} in {_count(len(done), 'group')}"
            + (f" until {until}" if until else "")
        )
    if failed:
        parts.append(f"{_count(failed, 'group')} failed")
    if skipped:
        parts.append(f"{_count(skipped, 'group')} skipped")
    if left := sum(len(outcome.left) for outcome in outcomes):
        parts.append(f"{_count(left, 'rule')} left alone")
    return f"Open ingress: {', '.join(parts) or deed.beside} ({account} {region})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
