"""Read security groups as they are now, past every cache."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.filters import Filter
from c7n.filters.core import BooleanGroupFilter, Not, ReduceFilter

from c7n_ingress.aws.calls import GROUPS_A_CALL, described
from c7n_ingress.decide.rules import PREFIX_LISTS, SOURCES, UNREADABLE, Match, Rule, matches_from, rule_from

OLDEST = 1.0
"""How many seconds old a reading may be when the group is changed.

`ModifySecurityGroupRules` has no condition, so what somebody changes in this time, and on the way of the call, is
overwritten.
"""
LONGEST_FILTERING = OLDEST / 4
"""How many seconds the policy's filters may take before the groups are read again."""
DELAYS = (1, 2, 4)
"""How many seconds pass before each further reading of what an event names and EC2 does not show yet."""
MOST_RULES = 4000
"""How many rules a lot may have, if it has several groups: as many as one group can have.

A rule's tags can take 40 kB of memory, and a function has 512 MB for all that it reads at once.
"""
MATCHED = "MatchedIpPermissions"
"""The annotation in which c7n's `ingress` filters put what they matched."""


class Reading(NamedTuple):
    """A group as it is at one moment: whether the policy's filters match it, what they matched, and all its rules."""

    group: Mapping[str, Any]
    selected: bool
    matches: set[Match]
    rules: Sequence[Rule]
    prefix_lists: Mapping[str, int | str | None]
    """What the filter ``open-ingress`` noted of each prefix list, by id: see ``decide.rules.PREFIX_LISTS``."""
    since: float
    """Since when it may be outdated: when the first call for it was made, by the monotonic clock."""

    @property
    def is_fresh(self) -> bool:
        """Whether the group may still be changed on this reading."""
        return time.monotonic() - self.since <= OLDEST


class Unread(NamedTuple):
    """A group that could not be read, and why."""

    group: Mapping[str, Any]
    error: Exception


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector: none of thousands of groups is garbage, and it would look at each of them."""
    waits = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if waits:
            gc.enable()


@dataclass
class LiveGroups:
    """Security groups as EC2 lists them at this moment.

    An event's item can be minutes old, and c7n caches its lists for a quarter of an hour.
    """

    manager: Any
    client: Any
    event: dict[str, Any] | None = None

    def in_lots(self, groups: Sequence[Mapping[str, Any]]) -> Iterator[Reading | Unread]:
        """Read the groups, each shortly before it is asked for, without those that do not exist any more.

        A lot is as large as the part of the last lot that was changed in time. It grows again when a whole lot was
        changed in time: a change takes a tenth of a second, and many seconds when EC2 throttles.
        """
        size, left = GROUPS_A_CALL, list(groups)
        while left:
            lot = left[: _with_room(left[:size])]
            left = left[len(lot) :]
            try:
                readings = self.read([group["GroupId"] for group in lot])
            except Exception as error:  # noqa: BLE001 - the others are still read; reported and raised at the end
                yield from (Unread(group, error) for group in lot)
                continue
            for number, reading in enumerate(readings):
                if isinstance(reading, Reading) and number and not reading.is_fresh:
                    again = {each.group["GroupId"] for each in readings[number:]}
                    left = [group for group in lot if group["GroupId"] in again] + left
                    size = number
                    break
                yield reading
            else:
                size = min(2 * size, GROUPS_A_CALL)
            readings.clear()
            if left:
                gc.collect(0)  # the garbage of this lot: the collector is paused

    def read(self, group_ids: Sequence[str]) -> list[Reading | Unread]:
        """Read those of the groups (200 at most) that exist, in the order given.

        Where the policy's filters take long, the groups are read again after them. If a group is still as the filters
        judged it, it may be changed on the later reading.
        """
        since = time.monotonic()
        groups = self.groups(group_ids)
        listed = [dict(group) for group in groups]  # as EC2 listed them: filters add their own keys
        before = time.monotonic()
        judged = self.judged(groups)
        ages = dict.fromkeys(group_ids, since)
        if (later := time.monotonic()) - before > LONGEST_FILTERING:
            ages |= dict.fromkeys(_unchanged(listed, self.groups(group_ids)), later)
        shapes = self.rules(group_ids)  # after the groups: rules must not be older than their group
        return [
            _reading(group, judged.get(group_id), shapes[group_id], ages[group_id])
            for group in groups
            for group_id in [group["GroupId"]]
        ]

    @cached_property
    def judge(self) -> Any:
        """The policy's manager, with only those filters that judge one group by itself: a lot is not the whole set."""
        judge = copy(self.manager)
        judge.filters = each_by_itself(self.manager.filters)
        return judge

    def judged(self, groups: Collection[dict[str, Any]]) -> dict[str, dict[str, Any] | Exception]:
        """Return the groups that the policy's filters select, by id, and why they cannot read one: it fails alone.

        :raises ClientError, BotoCoreError, PolicyExecutionError: a filter failed for a reason that is not one group's.
        """
        try:
            return {group["GroupId"]: group for group in self.judge.filter_resources(list(groups), self.event)}
        except (ClientError, BotoCoreError, PolicyExecutionError):
            raise
        except Exception as error:  # noqa: BLE001 - c7n's filters raise anything; the group's failure is reported
            if len(groups) > 1:
                return {group_id: each for group in groups for group_id, each in self.judged([group]).items()}
            return {group["GroupId"]: error for group in groups}

    def groups(self, group_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Read those of the groups (200 at most) that exist, in the order given."""
        found = described(self.client, "describe_security_groups", "SecurityGroups", "group-id", group_ids)
        return sorted(found, key=lambda group: group_ids.index(group["GroupId"]))

    def rules(self, group_ids: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
        """Read the rules of the groups (200 at most), ingress and egress, by group id."""
        rules = defaultdict(list)
        for shape in described(
            self.client, "describe_security_group_rules", "SecurityGroupRules", "group-id", group_ids
        ):
            rules[shape["GroupId"]].append(shape)
        return rules

    def egress(self, group_ids: Sequence[str]) -> set[str]:
        """Read the ids of the groups' egress rules."""
        shapes = (shape for of_group in self.rules(group_ids).values() for shape in of_group)
        return {shape["SecurityGroupRuleId"] for shape in shapes if shape["IsEgress"]}


# -- the policy's filters, again, on some of the groups that they selected before


class Unchanged(Filter):  # type: ignore[misc]  # c7n ships no types
    """Replaces a filter that judges the set, so that its first verdict, on the whole set, remains."""

    type = "unchanged"

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Match all groups or none."""
        return resources if self.data["match"] else []


def each_by_itself(filters: Iterable[Any], *, match: bool = True) -> list[Any]:
    """Return the filters with those that judge the set replaced, however deep they are in blocks.

    :param match: what the replacements match: all groups, but none under ``not``, as it is ``not`` that has to match.
    """
    found = []
    for each in filters:
        if isinstance(each, BooleanGroupFilter):
            block = copy(each)
            block.filters = each_by_itself(each.filters, match=match != isinstance(each, Not))
            found.append(block)
        else:
            found.append(Unchanged({"match": match}) if judges_the_set(each) else each)
    return found


def judges_the_set(each: Any) -> bool:
    """Whether a filter sorts, counts or cuts the groups that it gets: on a part of them it would decide differently.

    c7n has two: ``reduce``, and ``value_type: resource_count`` of each filter on a value. The pack has ``named``.
    """
    counts = each.data.get("value_type") == "resource_count"
    return counts or isinstance(each, ReduceFilter) or getattr(each, "judges_the_set", False)


def _with_room(groups: Sequence[Mapping[str, Any]]) -> int:
    """Return how many of the first groups have no more rules together than a lot may have, as c7n listed them."""
    sides = ("IpPermissions", "IpPermissionsEgress")
    total = accumulate(
        sum(len(each.get(key) or ()) for side in sides for each in group.get(side) or () for key in SOURCES)
        for group in groups
    )
    return max(1, sum(1 for _ in takewhile(lambda number: number <= MOST_RULES, total)))


def _reading(
    group: Mapping[str, Any],
    judged: Mapping[str, Any] | Exception | None,
    shapes: Iterable[Mapping[str, Any]],
    since: float,
) -> Reading | Unread:
    try:
        if isinstance(judged, Exception):
            raise judged
        found = judged or {}
        if why := found.get(UNREADABLE):
            raise ValueError(why)
        rules = [rule_from(shape) for shape in shapes if not shape["IsEgress"]]
        matches = matches_from(found.get(MATCHED, []))
    except Exception as error:  # noqa: BLE001 - what is not known fails this group alone, and is reported
        return Unread(group, error)
    return Reading(group, judged is not None, matches, rules, found.get(PREFIX_LISTS, {}), since)


def _unchanged(groups: Iterable[Mapping[str, Any]], later: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of the groups that are the same later."""
    by_id = {group["GroupId"]: group for group in later}
    pairs = ((group, by_id.get(group["GroupId"])) for group in groups)
    return [group["GroupId"] for group, other in pairs if other and _unordered(group) == _unordered(other)]


def _unordered(value: Any) -> Any:
    """Return a shape of EC2's so that the order of its parts does not matter when it is compared."""
    if isinstance(value, dict):
        return sorted((key, _unordered(part)) for key, part in value.items())
    return sorted(map(_unordered, value), key=repr) if isinstance(value, list) else value
