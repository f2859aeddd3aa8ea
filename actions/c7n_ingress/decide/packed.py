"""Part things into as few lists as hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def packed(items: Iterable[Item], room: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Give lists of items, in order, whose sizes together have room; an item that has none is a list of its own."""
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
