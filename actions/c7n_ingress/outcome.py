"""What came of one group: its records, its failures, and how they are told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

REPLACED = "c7n:replaced-ingress"
FAILED = "c7n:failed-ingress"
SKIPPED = "c7n:skipped-ingress"
"""The annotations under which templates find what is told of a group."""

TOLD_KEYS = ("GroupId", "GroupName", "VpcId", "OwnerId", "Tags")
"""What a message says of a group besides; whole resources would not fit by the hundred."""

Record = dict[str, Any]


@dataclass
class Outcome:
    """What was done to one group, what failed, and why it was passed over if it was."""

    group: Mapping[str, Any]
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: str | None = None

    @property
    def worth_telling(self) -> bool:
        """Whether anything changed, failed or was passed over."""
        return bool(self.records or self.failures or self.skipped)

    def told(self) -> dict[str, Any]:
        """Give the group as a message's resource."""
        resource = {key: self.group[key] for key in TOLD_KEYS if key in self.group}
        resource[REPLACED] = self.records
        if self.failures:
            resource[FAILED] = self.failures
        if self.skipped:
            resource[SKIPPED] = self.skipped
        return resource


def subject(outcomes: Iterable[Outcome], account: str, region: str, *, preview: bool) -> str:
    """Say in one line what came of all groups, with nothing in it that anybody could have typed.

    SNS takes fewer than 100 printable ASCII characters (``Publish``, parameter ``Subject``).
    """
    outcomes = list(outcomes)
    closed = [n for outcome in outcomes if (n := sum(record["was"] is not None for record in outcome.records))]
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    skipped = sum(bool(outcome.skipped) for outcome in outcomes)
    parts = []
    if closed:
        would_be = "would be " if preview else ""
        parts.append(f"{_count(sum(closed), 'rule')} {would_be}replaced in {_count(len(closed), 'group')}")
    if failed:
        parts.append(f"{_count(failed, 'group')} failed")
    if skipped:
        parts.append(f"{_count(skipped, 'group')} skipped")
    return f"Open ingress: {', '.join(parts) or 'networks added'} ({account} {region})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
