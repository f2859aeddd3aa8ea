"""How EC2 throttles: token buckets, https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html.

In each account and region, every API has its own bucket. A call takes one token. If the bucket is empty, the call is
refused with RequestLimitExceeded. Tokens come back at a steady rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from unittest import mock

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError

from c7n_ingress_tools.embedded_aws.ec2 import Response


@dataclass(frozen=True)
class Bucket:
    """How many tokens a bucket holds, and how many come back in a second."""

    size: int
    refill: int


# What the page above lists for the calls on security groups and tags. The first prefix that matches counts.
BUCKETS = {"CreateTags": Bucket(100, 10), "DeleteTags": Bucket(100, 10), "Describe": Bucket(100, 20), "": Bucket(50, 5)}


@dataclass
class Throttling:
    """The buckets of all accounts, full at first. `clock` returns seconds; a faster clock shortens the wait."""

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

    @contextmanager
    def in_ec2(self) -> Iterator[None]:
        """Make the embedded EC2 refuse calls for which there is no token, until the block ends."""
        call = Response.call_action

        def call_action(response: Response) -> Any:
            if self.admits(response.current_account, response.region, response._get_action()):
                return call(response)
            refused = EC2ClientError("RequestLimitExceeded", "Request limit exceeded.")
            _, headers, body = response.serialized(ActionResult(refused))
            return 503, headers, body

        with mock.patch.object(Response, "call_action", call_action):
            yield


def clock(speed: float) -> Callable[[], float]:
    """Return a clock that runs `speed` times as fast as the real one."""
    start = time.monotonic()
    return lambda: start + (time.monotonic() - start) * speed
