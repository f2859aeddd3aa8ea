"""How EC2 throttles: token buckets, https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html.

For each account and region, every API has a bucket of its own. A call takes one token; a bucket that is empty refuses
the call with RequestLimitExceeded; it fills up again at a steady rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock


@dataclass(frozen=True)
class Bucket:
    """How many tokens fit in, and how many come back in a second."""

    size: int
    refill: int


# What the page above lists for the calls on security groups and tags; the first name that fits counts.
BUCKETS = {"CreateTags": Bucket(100, 10), "DeleteTags": Bucket(100, 10), "Describe": Bucket(100, 20), "": Bucket(50, 5)}


@dataclass
class Throttling:
    """The buckets of all accounts, full at first. `clock` returns seconds; one that runs faster shortens the wait."""

    clock: Callable[[], float] = time.monotonic
    refused: int = 0
    _left: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)
    _taking: Lock = field(default_factory=Lock)

    def admits(self, account: str, region: str, action: str) -> bool:
        """Take a token for a call, and return whether there was one."""
        bucket = next(bucket for name, bucket in BUCKETS.items() if action.startswith(name))
        with self._taking:
            now = self.clock()
            left, then = self._left.get((account, region, action), (bucket.size, now))
            left = min(bucket.size, left + (now - then) * bucket.refill)
            admitted = left >= 1
            self._left[account, region, action] = left - admitted, now
            self.refused += not admitted
        return admitted


def clock(speed: float) -> Callable[[], float]:
    """Return a clock that runs so many times as fast as the wall's."""
    start = time.monotonic()
    return lambda: start + (time.monotonic() - start) * speed
