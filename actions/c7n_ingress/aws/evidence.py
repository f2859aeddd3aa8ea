"""Look up in VPC flow logs who came in through rules that would be replaced, where a preview asks for it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError
from c7n.utils import chunks, local_session

from c7n_ingress.aws.apply import error_code
from c7n_ingress.aws.behind import interfaces_of
from c7n_ingress.aws.read import GROUPS_A_CALL, LiveGroups
from c7n_ingress.aws.reopened import BRIEFLY
from c7n_ingress.decide.evidence import (
    MOST_ROWS,
    Interface,
    Known,
    Row,
    afterwards,
    interface_from,
    openings,
    queries,
    queries_of_logged,
    read_text,
    row_from,
    sentences,
    who_came_in,
)
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.rules import Match, rule_from

log = logging.getLogger("custodian.actions")

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["log-groups"],
    "properties": {
        "log-groups": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "uniqueItems": True,
            "items": {"type": "string", "minLength": 1, "maxLength": 512, "pattern": r"^[.\-_/#A-Za-z0-9]+\Z"},
        },
        "days": {"type": "integer", "minimum": 1, "maximum": 90},
        "seconds": {"type": "integer", "minimum": 10, "maximum": 900},
    },
}
"""What may be asked for; the names and the number of log groups are those that StartQuery takes."""

DAYS, SECONDS = 14, 120
"""How far back is looked, and for how long, where a policy does not say."""

PERMISSIONS = ("ec2:DescribeNetworkInterfaces", "logs:StartQuery", "logs:GetQueryResults", "logs:StopQuery")

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


def check_preview(data: Mapping[str, Any]) -> None:
    """Refuse a policy that would ask who came in when it is too late.

    :raises ValueError: says what to do about it.
    """
    if not data.get("preview"):
        raise ValueError(
            "evidence: only a preview looks up who would be cut off, and this policy changes groups: add "
            "'preview: true', or leave evidence out"
        )


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


class Evidence:
    """Who came in through rules, as far as an action's ``evidence`` asks for it.

    :param action: its key ``evidence`` says in which log groups, how many days back, and how long to look.
    """

    def __init__(self, action: Any) -> None:
        self.manager = action.manager
        self.wanted: Mapping[str, Any] = action.data.get("evidence", {})

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Note of each group that would be changed who would be cut off, or that this could not be looked up."""
        concerned = [outcome for outcome in outcomes if openings(outcome.records)]
        if not self.wanted or not concerned:
            return
        try:
            self.look_up(concerned)
        except Exception as error:  # the preview is told all the same
            log.exception("who came in could not be looked up")
            why = error_code(error) if isinstance(error, ClientError) else type(error).__name__
            for outcome in concerned:
                outcome.evidence = [f"who came in could not be looked up ({why})"]
        for outcome in concerned:
            for text in outcome.evidence:
                log.info("%s: %s", outcome.group["GroupId"], text)

    def look_up(self, outcomes: Sequence[Outcome]) -> None:
        """Ask EC2 whom the rules concern, and CloudWatch Logs who came in, and note what they say.

        :raises ClientError, BotoCoreError: EC2 did not tell, or no query could be started.
        """
        records = list(chain.from_iterable(outcome.records for outcome in outcomes))
        found = openings(records)
        session = local_session(self.manager.session_factory)
        ec2 = session.client("ec2")
        interfaces = read_interfaces(ec2, {opening.group for opening in found})
        groups = {group for interface in interfaces for group in interface.groups} | {each.group for each in found}
        after = afterwards(read_rules(LiveGroups(self.manager, ec2), groups), records)
        named = read_interfaces(ec2, references(after.values()) - groups)

        log_groups, days = self.wanted["log-groups"], self.wanted.get("days", DAYS)
        asked = [Query(text, days) for text in queries(found, interfaces)]
        logged = [Query(text, 1) for text in queries_of_logged(interfaces)]
        ask(session.client("logs", config=BRIEFLY), log_groups, asked + logged, self.wanted.get("seconds", SECONDS))

        rows, troubles = rows_of(asked)
        troubles += [query.trouble for query in logged if query.trouble]
        known = Known(frozenset(row["interfaceId"] for each in logged for row in each.rows), whole=not troubles)
        told = who_came_in(found, {*interfaces, *named}, after, rows)
        said = sentences(told, interfaces, known)
        read = read_text(log_groups, days, sum(query.size for query in asked + logged), troubles)
        log.info("evidence: %s", read)
        for outcome in outcomes:
            outcome.evidence = said[outcome.group["GroupId"]]
            outcome.evidence_read = read


def read_interfaces(client: Any, group_ids: Collection[str]) -> list[Interface]:
    """Read the interfaces that have any of the groups, each once.

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    shapes = chain.from_iterable(interfaces_of(client, group_ids).values())
    return list({shape["NetworkInterfaceId"]: interface_from(shape) for shape in shapes}.values())


def read_rules(groups: LiveGroups, group_ids: Collection[str]) -> dict[str, list[Any]]:
    """Read the ingress rules of groups, by group.

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    found: dict[str, list[Any]] = {group_id: [] for group_id in group_ids}
    for batch in chunks(sorted(group_ids), GROUPS_A_CALL):
        found |= {group_id: list(map(rule_from, shapes)) for group_id, shapes in groups.rules(batch).items()}
    return found


def references(rules: Iterable[Iterable[Match]]) -> set[str]:
    """Give the groups that rules let in."""
    sources = (match.source for of_group in rules for match in of_group)
    return {source for source in sources if isinstance(source, str) and source.startswith("sg-")}


def rows_of(asked: Iterable[Query]) -> tuple[list[Row], list[str]]:
    """Read the rows of answers, and say of each answer that is not whole why it is not."""
    rows: list[Row] = []
    troubles = []
    for query in asked:
        read = [row_from(row) for row in query.rows]
        rows += filter(None, read)
        if query.trouble:
            troubles.append(query.trouble)
        if len(read) >= MOST_ROWS:
            troubles.append(
                f"gave {MOST_ROWS:,} rows, the most there are in one answer: those who sent least are missing"
            )
        if None in read:
            troubles.append("gave rows that do not say who came where")
    return rows, troubles


# -- asking CloudWatch Logs


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
