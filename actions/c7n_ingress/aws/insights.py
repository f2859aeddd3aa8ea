"""Ask CloudWatch Logs Insights: start queries, see how far they are, and stop what is not done in time."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError

from c7n_ingress.aws.apply import error_code
from c7n_ingress.decide.insights import MOST_ROWS

log = logging.getLogger("custodian.actions")

MOST_AT_ONCE = 30
"""How many queries CloudWatch Logs runs at once for an account, those of its dashboards included.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
"""

RUNNING = frozenset({"Scheduled", "Running", "Unknown"})
BUSY = frozenset({"LimitExceededException", "ThrottlingException", "ServiceUnavailableException"})
"""What CloudWatch Logs says when the same call may do later."""

FIRST_WAIT, LONGEST_WAIT, LONGER = 0.5, 5.0, 1.5
"""How many seconds pass between two looks: at first, and at most; and by what the next wait is longer."""

BY_THEMSELVES = "they end by themselves, within an hour"

STOPPING = 8.0
"""For how many seconds queries are stopped at most, however many run."""

DAY = 86_400


@dataclass
class Query:
    """A query, and what is known of its answer."""

    text: str
    days: int
    id: str = ""
    status: str = ""
    """As CloudWatch Logs has it."""
    rows: list[dict[str, str]] = field(default_factory=list)
    size: int = 0
    """How many bytes it has read so far."""
    trouble: str | None = None
    """Why it was not answered, or not to the end."""


def ask(client: Any, log_groups: Sequence[str], asked: Sequence[Query], seconds: float) -> None:
    """Have queries answered, as many at once as may be, and stop what is not done in time.

    Each call is tried twice, for eight seconds each at most: by one call, and by ``STOPPING`` and another, may it take
    longer.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetQueryResults.html

    :raises ClientError, BotoCoreError: not one query could be started.
    """
    end = time.monotonic() + seconds
    wait = FIRST_WAIT
    waiting, running, refused = deque(asked), list[Query](), list[Exception]()
    try:
        while (waiting or running) and time.monotonic() < end:
            start(client, log_groups, waiting, running, refused, end)
            time.sleep(max(0.0, min(wait, end - time.monotonic())) if waiting or running else 0)
            wait = min(LONGER * wait, LONGEST_WAIT)
            for query in running:
                if time.monotonic() < end:
                    look(client, query)
            running = [query for query in running if query.status in RUNNING]
    finally:
        for query in (*running, *waiting):
            query.trouble = f"not done within {seconds:g} s"
        stop(client, running)
    if refused and not any(query.id for query in asked):
        raise refused[0]


def start(  # noqa: PLR0913, PLR0917 - all of them change
    client: Any,
    log_groups: Sequence[str],
    waiting: deque[Query],
    running: list[Query],
    refused: list[Exception],
    end: float,
) -> None:
    """Start as many queries as may run; when CloudWatch Logs is busy, the rest waits."""
    now = int(time.time()) + 1  # what is logged in this second counts, too
    while waiting and len(running) < MOST_AT_ONCE and time.monotonic() < end:
        query = waiting[0]
        try:
            query.id = client.start_query(
                logGroupNames=list(log_groups),
                startTime=now - query.days * DAY,
                endTime=now,
                queryString=query.text,
                limit=MOST_ROWS,
            )["queryId"]
        except (ClientError, BotoCoreError) as error:
            if _why(error) in BUSY:
                return
            log.exception("a query could not be started")
            query.trouble = f"failed ({_why(error)})"
            refused.append(error)
        else:
            query.status = "Scheduled"
            running.append(query)
        waiting.popleft()


def look(client: Any, query: Query) -> None:
    """See how far a query is. While it runs, what it gives is a part, and is kept until there is more."""
    try:
        answer = client.get_query_results(queryId=query.id)
    except (ClientError, BotoCoreError) as error:
        if _why(error) in BUSY:
            return
        log.exception("a query's results could not be read")
        query.status, query.trouble = "Failed", f"failed ({_why(error)})"
        return
    query.status = answer["status"]
    query.rows = [{each["field"]: each["value"] for each in row if "value" in each} for row in answer["results"]]
    query.size = int(answer.get("statistics", {}).get("bytesScanned", 0))
    if query.status not in RUNNING | {"Complete"}:
        query.trouble = f"ended as {query.status}"


def stop(client: Any, running: Sequence[Query]) -> None:
    """Stop queries, so that they cost no more; one that has ended meanwhile cannot be stopped."""
    end = time.monotonic() + STOPPING
    try:
        for number, query in enumerate(running):
            if time.monotonic() > end:
                log.error("%d queries were not stopped in time; %s", len(running) - number, BY_THEMSELVES)
                return
            _stop(client, query)
    except BotoCoreError:  # nobody answers: nor would they for the next
        log.exception("queries could not be stopped; %s", BY_THEMSELVES)


def _stop(client: Any, query: Query) -> None:
    try:
        client.stop_query(queryId=query.id)
    except ClientError as error:
        log.warning("query %s could not be stopped: %s", query.id, error)


def _why(error: Exception) -> str:
    return str(error_code(error)) if isinstance(error, ClientError) else type(error).__name__
