"""How often an exemption was renewed, by the values of its tag that AWS Config has recorded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

RENEWED = "c7n:renewed-ingress"  # the annotation under which templates find the sentence


def renewals(values: Iterable[tuple[datetime, str]]) -> list[datetime]:
    """Return when an exemption got another day, also if it was removed in between.

    :param values: the tag's value from a moment on, "" for none; in any order, and repeated or not.
    """
    past = sorted(set(values))
    given = [each for number, each in enumerate(past) if each[1] and (not number or past[number - 1][1] != each[1])]
    return [since for _, (since, _) in pairwise(given)]


def sentence(renewed: list[datetime], days: int) -> str:
    """Return how often an exemption was renewed in the last days, and when last, as a sentence."""
    if not renewed:
        return f"not renewed in the last {days} days"
    times = "once" if len(renewed) == 1 else f"{len(renewed)} times"
    return f"renewed {times} in the last {days} days, last on {renewed[-1]:%Y-%m-%d}"
