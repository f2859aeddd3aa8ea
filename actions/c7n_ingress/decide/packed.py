"""Divide items into as few lists as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def packed(items: Iterable[Item], room: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Return lists of items, in order, whose sizes together have room; too large an item is a list by itself."""
    some: list[Item] = []
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
