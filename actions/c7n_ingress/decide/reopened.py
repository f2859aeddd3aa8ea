"""How often a group was opened again, and its exemption renewed, by the states that AWS Config has recorded.

The count of openings is a minimum: Config may record a group that was opened and closed within moments as one state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from c7n_ingress.decide.openness import covering, open_sources
from c7n_ingress.decide.rules import Match, matches_from
from c7n_ingress.decide.states import counted

REOPENED = "c7n:reopened-ingress"
RENEWED = "c7n:renewed-ingress"
"""The annotations under which templates find the sentences."""

MOST_HOURS = 144
"""The most hours that are looked back: within six days a weekday says which day is meant.

One call spans seven days: https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
"""

ALIKE = 0.25
"""By which part of the median the times between openings may differ, and still count as regular."""


class PastState(NamedTuple):
    """Whether a group was open from a moment on."""

    since: datetime
    is_open: bool


def was_open(permissions: Iterable[Mapping[str, Any]], now: Collection[Match]) -> bool:
    """Whether a group with these permissions was open as it is now.

    What the policy leaves open, such as port 443 of a website, was open before, too, and does not count. So only rules
    count that let in some of what is open now, and are open by the pack's one definition, or the same rules.
    """
    every = matches_from(permissions)
    concerned = covering((rule.traffic for rule in every), (open_.traffic for open_ in now))
    rules = {rule for rule in every if rule.traffic in concerned}
    networks = {rule: [rule.source] for rule in rules if not isinstance(rule.source, str)}
    return not rules.isdisjoint(now) or bool(open_sources({rule: rule.traffic for rule in networks}, networks))


def openings(states: Iterable[PastState], now: datetime, hours: int) -> list[datetime]:
    """Return when a group that is open now was opened within the last hours, the oldest first, this time last.

    :param states: in any order, and repeated or not. None needs to say that the group is open now, as Config is slow.
        States later than now come from the closing.
    """
    past = sorted({state for state in states if state.since <= now} | {PastState(now, is_open=True)})
    opened = [past[0].since] if past[0].is_open else []
    opened += [after.since for before, after in pairwise(past) if after.is_open and not before.is_open]
    return [each for each in opened if each >= now - timedelta(hours=hours)]


def sentence(opened: Collection[datetime]) -> str:
    """Return how often a group was opened, twice at least, since when, and how far apart, as a sentence."""
    first, *_ = opened
    return f"opened again, {_ordinal(len(opened))} time since {first:%A %H:%M} UTC{_how_often(opened)}"


def _how_often(opened: Iterable[datetime]) -> str:
    gaps = sorted(after - before for before, after in pairwise(opened))
    if len(gaps) == 1:
        return f", {_long(gaps[0])} after the time before"
    middle = gaps[len(gaps) // 2]
    if all(abs(gap - middle) <= max(ALIKE * middle, timedelta(seconds=1)) for gap in gaps):
        return f"; something opens it every {_long(middle)}"
    return f", at intervals of {_long(gaps[0])} to {_long(gaps[-1])}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _long(time: timedelta) -> str:
    """Return how long something takes, in the largest unit that it has two of."""
    for noun, unit in (("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if time >= 2 * unit:
            return counted(round(time / unit), noun)
    return counted(max(1, round(time.total_seconds())), "second")


def renewals(values: Iterable[tuple[datetime, str]]) -> list[datetime]:
    """Return when an exemption got another day, also if it was removed in between.

    :param values: the tag's value from a moment on, "" for none; in any order, and repeated or not.
    """
    past = sorted(set(values))
    given = [each for number, each in enumerate(past) if each[1] and (not number or past[number - 1][1] != each[1])]
    return [since for _, (since, _) in pairwise(given)]


def renewed(times: list[datetime], days: int) -> str:
    """Return how often an exemption was renewed in the last days, and when last, as a sentence."""
    if not times:
        return f"not renewed in the last {days} days"
    often = "once" if len(times) == 1 else f"{len(times)} times"
    return f"renewed {often} in the last {days} days, last on {times[-1]:%Y-%m-%d}"
