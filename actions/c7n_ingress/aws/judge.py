"""Apply a policy's filters again, to some of the groups that they selected before.

Some of c7n's filters judge the set: they sort, count or cut the groups that they get. On a part of the set they decide
differently. Their first verdict, on the whole set, remains.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

from c7n.filters import Filter
from c7n.filters.core import BooleanGroupFilter, Not, ReduceFilter


class Unchanged(Filter):  # type: ignore[misc]  # c7n ships no types
    """Replaces a filter that judges the set, so that a selected group remains selected."""

    type = "unchanged"

    def __init__(self, *, match: bool) -> None:
        super().__init__({})
        self.match = match

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Match all groups or none."""
        return resources if self.match else []


def each_by_itself(filters: Iterable[Any], *, match: bool = True) -> list[Any]:
    """Return the filters with those that judge the set replaced, however deep they are in blocks.

    :param match: what the replacements match: all groups, but none under ``not``, as it is ``not`` that has to match.
    """
    return [_by_itself(each, match=match) for each in filters]


def _by_itself(each: Any, *, match: bool) -> Any:
    if isinstance(each, BooleanGroupFilter):
        block = copy(each)
        block.filters = each_by_itself(each.filters, match=match != isinstance(each, Not))
        return block
    return Unchanged(match=match) if judges_the_set(each) else each


def judges_the_set(each: Any) -> bool:
    """Whether what a filter says of one group depends on the other groups.

    c7n has two: ``reduce``, and ``value_type: resource_count`` of each filter on a value. ``named`` needs all of its
    groups, and has the attribute ``judges_the_set``.
    """
    counts = each.data.get("value_type") == "resource_count"
    return counts or isinstance(each, ReduceFilter) or getattr(each, "judges_the_set", False)
