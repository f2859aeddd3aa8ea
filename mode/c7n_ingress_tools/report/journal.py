"""What the functions' journals say: what was closed, how long it was open, what failed, and who opened it."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple, NoReturn

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from rich import box
from rich.table import Table

from c7n_ingress.aws.calls import pages, said
from c7n_ingress.decide.commands import LOG_GROUPS
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.accounts import ALL, accounts, regions_of
from c7n_ingress_tools.names import MAILER, POLICIES
from c7n_ingress_tools.report.sources import FAILURE
from c7n_ingress_tools.report.tables import harmless
from c7n_ingress_tools.report.text import visible

VERSION = 1
"""Of the JSON: it changes when a key goes or means something else."""

CLOSED = frozenset({"modified", "revoked", "perhaps modified", "perhaps revoked"})
"""What the record of an open rule that was closed calls its change."""

EXEMPT_LOG, MAILERS_LOG = f"/aws/lambda/{POLICIES}-exempt", f"/aws/lambda/{MAILER}"
COUNTED = re.compile(rf"policy:{POLICIES.removeprefix('custodian-')}-exempt .*count:(\d{{1,9}}) ")
UNDONE = re.compile(r"undone in (\d{12}) (\S+): (sg-[\w, -]+)")
FIRST = "us-east-1"
"""Where AWS is asked which regions an account has, as c7n-org asks."""
MOST_OPENERS = 10
MOST_SECONDS = 4e9
"""More than a century. A number beyond it is forged, and may be too large to compute with or to write as JSON."""


class Place(NamedTuple):
    """An account and region whose journals are read."""

    account: str
    region: str
    session: Callable[[], boto3.Session]
    """Returns the session; it may have to assume a role first."""


class Closure(NamedTuple):
    """An open rule that was closed."""

    account: str
    region: str
    group: str
    name: str
    rule: str
    protocol: str
    ports: str
    was: str
    now: str
    time: str
    opened: str
    seconds: float | None
    """How long it was open; None where the record does not say since when."""
    opened_by: str


@dataclass
class Summary:
    """What happened in an account, or in all of them."""

    account: str
    closures: int = 0
    median: float | None = None
    """Of the seconds that rules were open."""
    most: float | None = None
    """The seconds that 95 % of the rules were open at most."""
    failures: int = 0
    """How many groups could not be closed at some time."""
    undone: int = 0
    """How many groups got back what was closed."""
    exempt: int = 0
    """How many groups the last weekly digest listed as exempt."""


@dataclass
class Found:
    """What was read."""

    since: dt.datetime
    until: dt.datetime
    closures: list[Closure] = field(default_factory=list)
    failed: set[tuple[str, str, str]] = field(default_factory=set)
    """Account, region and group."""
    undone: set[tuple[str, str, str]] = field(default_factory=set)
    exempt: dict[tuple[str, str], int] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Which accounts and regions could not be read, and why."""
    notes: list[str] = field(default_factory=list)

    def summaries(self) -> list[Summary]:
        """Return a summary of each account, and of all of them if there are several."""
        made = [self._summary(account, {account}) for account in self.accounts]
        return made if len(made) == 1 else [*made, self._summary("all", {*self.accounts})]

    def _summary(self, name: str, accounts: set[str]) -> Summary:
        closures = [each for each in self.closures if each.account in accounts]
        seconds = sorted(each.seconds for each in closures if each.seconds is not None)
        return Summary(
            name,
            len(closures),
            median(seconds) if seconds else None,
            quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else max(seconds, default=None),
            sum(each[0] in accounts for each in self.failed),
            sum(each[0] in accounts for each in self.undone),
            sum(count for (account, _), count in self.exempt.items() if account in accounts),
        )

    def openers(self) -> list[tuple[str, int]]:
        """Return who opened the most rules that were closed, as far as CloudTrail's events say."""
        return Counter(each.opened_by for each in self.closures if each.opened_by).most_common(MOST_OPENERS)


def places_of(path: Path, regions: Sequence[str]) -> Iterator[Place]:
    """Return the accounts of c7n-org's file, each with the session of its role, as c7n-org makes one.

    :param regions: where to read; by default in the regions where c7n-org runs.
    :raises ValueError: the file is none of c7n-org's.
    """
    from c7n_org.cli import get_session  # noqa: PLC0415 - an extra of its own

    for account in accounts(path):
        session = partial(get_session, account, "c7n-ingress-report")
        for region in regions_of(account, regions):
            if region == ALL:
                yield from _everywhere(account["account_id"], session)
            else:
                yield Place(account["account_id"], region, partial(session, region))


def _everywhere(account: str, session: Callable[[str], boto3.Session]) -> Iterator[Place]:
    """Return all regions that an account has; if they cannot be listed, one place that cannot be read."""
    try:
        found = session(FIRST).client("ec2").describe_regions()["Regions"]
    except (BotoCoreError, ClientError) as error:
        yield Place(account, ALL, partial(_refuse, error))
        return
    yield from (Place(account, each["RegionName"], partial(session, each["RegionName"])) for each in found)


def _refuse(error: Exception) -> NoReturn:
    raise error


def read(places: Iterable[Place], since: dt.datetime, until: dt.datetime) -> Found:
    """Read the journals of all places. A place that cannot be read does not stop the others.

    :raises ClientError, BotoCoreError: AWS lets the caller read the records of no place, or did not answer.
    """
    found = Found(since, until)
    first: BotoCoreError | ClientError | None = None
    places = list(places)
    for place in places:
        if place.account not in found.accounts:
            found.accounts.append(place.account)
        try:
            _read(place, found)
        except NoCredentialsError:  # no other place has any
            raise
        except (BotoCoreError, ClientError) as error:
            first = first or error
            found.unread.append(f"{place.account} {place.region}: could not be read: {said(error)}")
    if first and len(found.unread) == len(places):
        raise first
    found.notes = found.unread + found.notes
    if not found.accounts:
        raise ValueError("there is no account and region to read: name one by --region")
    return found


def _read(place: Place, found: Found) -> None:
    logs = Logs(place.session().client("logs"), found.since, found.until)
    for log_group in LOG_GROUPS:
        for line in logs.lines(log_group, "{ ($.v = 1) }"):
            record = json.loads(line, parse_int=float)  # a number of 4,301 digits would be refused as an int
            if str(record.get("how")) in CLOSED and record.get("was"):
                found.closures.append(closure_of(record, place))
        for line in logs.lines(log_group, '"replace-ingress: sg-"'):
            if (failure := FAILURE.search(line)) and failure["group"]:
                found.failed.add((place.account, place.region, failure["group"]))
    where = f"{place.account} {place.region}"
    if logs.missing >= {*LOG_GROUPS}:
        found.notes.append(f"{where}: no journal. Is the stack there?")
    try:
        for match in filter(None, map(COUNTED.search, logs.lines(EXEMPT_LOG, '"count:"'))):
            found.exempt[place.account, place.region] = int(match[1])  # the last one counts
        for match in filter(None, map(UNDONE.search, logs.lines(MAILERS_LOG, '"undone in"'))):
            found.undone |= {(match[1], match[2], group) for group in match[3].split(", ")}
    except ClientError as error:
        found.notes.append(f"{where}: exempt and undone groups are not counted: {said(error)}")


class Logs:
    """The log groups of an account and region."""

    def __init__(self, client: Any, since: dt.datetime, until: dt.datetime) -> None:
        self.client = client
        self.times = {"startTime": int(since.timestamp() * 1000), "endTime": int(until.timestamp() * 1000)}
        self.missing: set[str] = set()
        """The log groups that do not exist: another account notifies people, say."""

    def lines(self, log_group: str, pattern: str) -> list[str]:
        """Return the lines of a log group that match a pattern, the oldest first; none if there is no such group.

        :raises ClientError: AWS does not let the caller read it.
        """
        request = {"logGroupName": log_group, "filterPattern": pattern, **self.times}
        try:
            events = [*pages(self.client, "filter_log_events", "events", **request)]
        except self.client.exceptions.ResourceNotFoundException:
            self.missing.add(log_group)
            return []
        return [event["message"] for event in sorted(events, key=itemgetter("timestamp"))]


def closure_of(record: Mapping[str, Any], place: Place) -> Closure:
    """Return the closure that a record is about. Anyone who may write to the log may have written the record."""
    seconds = record.get("seconds_open")

    def text(key: str) -> str:
        return str(record.get(key) or "")

    return Closure(
        account=place.account,
        region=place.region,
        group=text("group"),
        name=text("group_name"),
        rule=text("rule"),
        protocol=text("protocol"),
        ports=text("ports"),
        was=text("was"),
        now=text("now"),
        time=text("time"),
        opened=text("opened"),
        seconds=seconds if isinstance(seconds, float) and abs(seconds) < MOST_SECONDS else None,
        opened_by=text("opened_by"),
    )


# -- what is shown


def as_json(found: Found) -> str:
    """Return all of it for a program."""
    return json.dumps(
        {
            "v": VERSION,
            "since": found.since.isoformat(),
            "until": found.until.isoformat(),
            "accounts": [asdict(each) for each in found.summaries()],
            "openers": [{"opened_by": who, "closures": count} for who, count in found.openers()],
            "closures": [each._asdict() for each in found.closures],
            "notes": found.notes,
        },
        indent=1,
    )


def as_csv(found: Found) -> str:
    """Return the closures, a line each, for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Closure._fields)
    for each in found.closures:
        writer.writerow(harmless(visible("" if value is None else str(value))) for value in each)
    return text.getvalue()


def table(found: Found) -> Table:
    """Return the summaries as a table for a terminal."""
    made = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("account", "closed rules", "open, median", "open, 95 %", "not closed", "undone", "exempt"):
        made.add_column(name, justify="left" if name == "account" else "right")
    for each in found.summaries():
        seconds = [_span(each.median), _span(each.most)]
        counts = map(str, (each.failures, each.undone, each.exempt))
        made.add_row(each.account, str(each.closures), *seconds, *counts)
    return made


def openers(found: Found) -> list[str]:
    """Return who opened the most, a line each."""
    return [f"{counted(count, 'rule')} opened by {visible(who)}" for who, count in found.openers()]


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds:,.0f} s" if seconds < 3600 else f"{seconds / 3600:,.1f} h"  # noqa: PLR2004 - an hour
