"""CloudWatch Logs Insights, as far as the pack asks it: `filter`, `stats`, `sort` and `limit` over VPC flow logs.

moto knows neither. A query's text is translated into SQL, word by word, and SQLite runs it over the events that moto
holds: so what comes out is counted, not recorded. It is no proof of what Insights itself makes of a query. What is not
in this small part of the language is refused. Fields are those that Insights finds by itself in flow logs of the
default format; a line of another format has none of them, and of a row, a field without a value is left out.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
"""

from __future__ import annotations

import ipaddress
import json
import re
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.logs import models
from moto.logs.exceptions import InvalidParameterException, ResourceNotFoundException
from moto.logs.responses import LogsResponse
from moto.moto_api._internal import mock_random

TEXTS = ("accountId", "interfaceId", "srcAddr", "dstAddr", "action", "logStatus")
FIELDS = ("version", "accountId", "interfaceId", "srcAddr", "dstAddr", "srcPort", "dstPort", "protocol", "packets")
FIELDS += ("bytes", "startTime", "endTime", "action", "logStatus")
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html"""

TOKEN = re.compile(r'\s*(?:"([^"]*)"|(\d+)|([A-Za-z_]\w*)|(<=|>=|!=|[=<>(),*\[\]]))')
WORDS = {"and", "or", "not", "in", "as", "by", "asc", "desc", "sum", "max", "min", "count"}
FUNCTIONS = {"count_distinct": "count_distinct", "isIpv4InSubnet": "in_subnet", "isIpv6InSubnet": "in_subnet"}

LONGEST, MOST_GROUPS, AT_ONCE = 10_000, 50, 30


class MalformedQueryError(JsonRESTError):
    """What Insights says of a query that it cannot read."""

    def __init__(self, why: str) -> None:
        super().__init__("MalformedQueryException", why)


class LimitExceededError(JsonRESTError):
    """What Insights says where too many queries run."""

    def __init__(self) -> None:
        super().__init__("LimitExceededException", "Account maximum query concurrency limit of [30] reached.")


@dataclass
class Behaviour:
    """How Insights behaves, where a test wants it otherwise."""

    looks: int = 1
    """How often a query is found running before it is done."""
    ends: str = "Complete"
    """The status in which it ends."""
    at_once: int = AT_ONCE
    asked: list[dict[str, Any]] = field(default_factory=list)
    """What was started, in order."""
    stopped: list[str] = field(default_factory=list)
    """The ids of what was stopped."""


behaviour = Behaviour()


def reset() -> None:
    """Behave as by default again, and forget what was asked."""
    vars(behaviour).update(vars(Behaviour()))


@dataclass
class Query:
    """A query that runs, or has run."""

    id: str
    rows: list[dict[str, Any]]
    size: int
    looks: int
    status: str = "Running"
    log_group_names: tuple[str, ...] = ()

    def to_result_json(self) -> dict[str, Any]:
        """Give what GetQueryResults answers with: while the query runs, a part of the rows."""
        if self.status == "Running" and self.looks == 0:
            self.status = behaviour.ends
        self.looks = max(0, self.looks - 1)
        rows = self.rows if self.status == "Complete" else self.rows[: len(self.rows) // 2]
        statistics = {"bytesScanned": float(self.size), "recordsMatched": float(len(rows))}
        results = [[{"field": name, "value": str(row[name])} for name in row if row[name] is not None] for row in rows]
        return {"status": self.status, "statistics": statistics, "results": results}


def sql(text: str) -> str:
    """Translate a query.

    :raises MalformedQueryError: it is not in the part of the language that is known here.
    """
    commands = [command.strip().partition(" ") for command in text.split("|")]
    parts = {name: _words(rest) for name, _, rest in commands}
    if [name for name, *_ in commands if name != "sort"] != ["filter", "stats", "limit"]:
        raise MalformedQueryError(f"filter, stats, sort and limit are known here: {text[:80]}")
    what, _, by = parts["stats"].partition(" by ")
    order = f" order by {parts['sort']}" if "sort" in parts else ""
    limit = parts["limit"]
    return f"select {what}, {by} from records where {parts['filter']} group by {by}{order} limit {limit}"  # noqa: S608 - words that are known


def _words(text: str) -> str:
    words, at = [], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise MalformedQueryError(f"unexpected symbol at {text[at : at + 20]!r}")
        quoted, number, name, sign = found.groups()
        if quoted is not None:
            words.append("'" + quoted.replace("'", "''") + "'")
        elif name and name not in WORDS and name not in FUNCTIONS:
            words.append(f"[{name}]")  # in double quotes, SQLite would take an unknown one for text
        else:
            words.append(number or FUNCTIONS.get(name, name) or {"[": "(", "]": ")"}.get(sign, sign))
        at = found.end()
    return " ".join(words).replace("count_distinct (", "count ( distinct")


def answer(text: str, lines: list[str]) -> list[dict[str, Any]]:
    """Run a query over lines of flow logs.

    :raises MalformedQueryError: it cannot be run.
    """
    connection = sqlite3.connect(":memory:")
    connection.create_function("in_subnet", 2, _in_subnet, deterministic=True)
    columns = ", ".join(f"[{name}] {'TEXT' if name in TEXTS else 'INTEGER'}" for name in FIELDS)
    connection.execute(f"create table records ({columns})")
    marks = ", ".join("?" * len(FIELDS))
    connection.executemany(f"insert into records values ({marks})", map(_fields, lines))  # noqa: S608 - only marks
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(sql(text))]
    except sqlite3.Error as error:
        raise MalformedQueryError(str(error)) from error
    finally:
        connection.close()


def _fields(line: str) -> list[str | None]:
    values = line.split()
    if len(values) != len(FIELDS) or not values[0].isdecimal():
        return [None] * len(FIELDS)
    return [None if value == "-" else value for value in values]


def _in_subnet(address: str | None, subnet: str) -> bool:
    return address is not None and ipaddress.ip_address(address) in ipaddress.ip_network(subnet)


def install() -> None:
    """Have moto's CloudWatch Logs answer such queries."""
    models.LogsBackend.start_query = _start
    models.LogsBackend.get_query_results = _known
    LogsResponse.stop_query = _stop


def _start(backend: Any, log_group_names: list[str], start_time: int, end_time: int, query_string: str) -> str:
    if len(query_string) > LONGEST or len(log_group_names) > MOST_GROUPS:
        raise InvalidParameterException(constraint="too long", parameter="queryString", value=query_string[:80])
    if not {*log_group_names} <= {*backend.groups}:
        raise ResourceNotFoundException
    if sum(query.status == "Running" for query in backend.queries.values()) >= behaviour.at_once:
        raise LimitExceededError
    streams = [stream for name in log_group_names for stream in backend.groups[name].streams.values()]
    events = (event for stream in streams for event in stream.events)
    lines = [event.message for event in events if start_time * 1000 <= event.timestamp <= end_time * 1000]
    size = sum(len(line.encode()) for line in lines)
    query = Query(str(mock_random.uuid4()), answer(query_string, lines), size, behaviour.looks)
    backend.queries[query.id] = query
    behaviour.asked.append({"id": query.id, "groups": log_group_names, "text": query_string, "start": start_time})
    return query.id


def _known(backend: Any, query_id: str) -> Query:
    if query_id not in backend.queries:
        raise ResourceNotFoundException
    return backend.queries[query_id]


def _stop(response: LogsResponse) -> str:
    query = _known(response.logs_backend, response._get_param("queryId"))  # noqa: SLF001 - moto's way
    if query.status != "Running":
        raise InvalidParameterException(constraint="has ended", parameter="queryId", value=query.id)
    query.status = "Cancelled"
    behaviour.stopped.append(query.id)
    return json.dumps({"success": True})
