"""The id of a run: a UUID of version 7, so that it carries the time at which the run started.

https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
"""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

VERSION = 7
MILLISECONDS, VERSION_BITS, VARIANT_BITS = 80, VERSION << 76, 0b10 << 62
RANDOM = (1 << 76) - 1 & ~(0b11 << 62)


def run_id(started: float, execution_id: str) -> str:
    """Return the id of a run, by its start in seconds since 1970 and the random bits of c7n's id of the execution."""
    time = int(started * 1000) << MILLISECONDS
    return str(UUID(int=time | VERSION_BITS | VARIANT_BITS | UUID(execution_id).int & RANDOM))


def started(run: str) -> datetime:
    """Return when a run started, in UTC, to the millisecond."""
    try:
        uuid = UUID(run)
    except ValueError:
        uuid = None
    if uuid is None or uuid.version != VERSION:
        raise ValueError(f"{run!r:.80} is no run id: copy it from the message, or from a record of the log")
    return datetime.fromtimestamp((uuid.int >> MILLISECONDS) / 1000, timezone.utc)
