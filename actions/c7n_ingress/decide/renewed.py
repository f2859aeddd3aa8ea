"""How often an exemption was renewed, told from the values that AWS Config has recorded of its tag."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

RENEWED = "c7n:renewed-ingress"
"""The annotation under which templates find the sentence."""


def renewals(values: Iterable[tuple[datetime, str]]) -> list[datetime]:
    """Give when an exemption got another day, one that was taken away in between included.

    :param values: the tag's value from a moment on, "" for none; in any order, each as often as it comes.
    """
    past = sorted(set(values))
    given = [each for number, each in enumerate(past) if each[1] and (not number or past[number - 1][1] != each[1])]
    return [since for _, (since, _) in pairwise(given)]


def sentence(renewed: list[datetime], days: int) -> str:
    """Say how often an exemption was renewed in the last days, and when last."""
    if not renewed:
        return f"not renewed in the last {days} days"
    times = "once" if len(renewed) == 1 else f"{len(renewed)} times"
    return f"renewed {times} in the last {days} days, last on {renewed[-1]:%Y-%m-%d}"
