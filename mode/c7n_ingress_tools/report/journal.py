"""What the functions' journals say: what was closed, how long it was open, what failed, and who opened it."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from rich import box
from rich.table import Table

from c7n_ingress.aws.calls import pages, said
from c7n_ingress.decide.commands import LOG_GROUPS
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.accounts import ALL, accounts, regions_of
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.extras import requires_extra
from c7n_ingress_tools.names import MAILER, POLICIES
from c7n_ingress_tools.report.rows import HOWS
from c7n_ingress_tools.report.sources import FAILURE, LOOKED, record_of
from c7n_ingress_tools.report.tables import csv_of
from c7n_ingress_tools.report.text import visible

VERSION = 1
"""Of the JSON: it changes when a key goes or means something else."""

CLOSED = HOWS.keys() - {"preview"}
"""What the record of an open rule that was closed calls its change."""

EXEMPT_LOG, MAILERS_LOG = f"/aws/lambda/{POLICIES}-exempt", f"/aws/lambda/{MAILER}"
UNDONE = re.compile(r"\[INFO\]\s(?:\S+\s\S+\s)?undone in (\d{12}) (\S+): (sg-[\w, -]+)")
"""The mailer's line, as Lambda begins it. Elsewhere in a line, somebody else may have written these words."""
FIRST = "us-east-1"
"""Where AWS is asked which regions an account has, as c7n-org asks."""
MOST_OPENERS = 10
MOST_SECONDS = 4e9
"""More than a century. A number beyond it is forged, and may be too large to compute with or to write as JSON."""

COLUMNS = {
    "account": "account", "region": "region", "group": "group", "name": "group_name", "rule": "rule",
    "protocol": "protocol", "ports": "ports", "was": "was", "now": "now", "time": "time", "opened": "opened",
    "seconds": "seconds_open", "opened_by": "opened_by",
}  # fmt: skip
"""What is reported of a rule that was closed, and how its record calls it."""


class Place(NamedTuple):
    """An account and region whose journals are read."""

    account: str
    region: str
    session: Callable[[str], boto3.Session]
    """Returns the session in a region; it may have to assume a role first."""


class Summary(NamedTuple):
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
    closures: list[dict[str, Any]] = field(default_factory=list)
    """A value for each of COLUMNS. Without a known opening, the seconds are None."""
    failed: set[tuple[str, str, str]] = field(default_factory=set)
    """Account, region and group."""
    undone: set[tuple[str, str, str]] = field(default_factory=set)
    exempt: dict[tuple[str, str], int] = field(default_factory=dict)
    accounts: dict[str, None] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    """Which accounts and regions could not be read, and why."""
    notes: list[str] = field(default_factory=list)

    def summaries(self) -> list[Summary]:
        """Return a summary of each account, and of all of them if there are several."""
        made = [self._summary(account, {account}) for account in self.accounts]
        return made if len(made) == 1 else [*made, self._summary("all", {*self.accounts})]

    def _summary(self, name: str, accounts: set[str]) -> Summary:
        closures = [each for each in self.closures if each["account"] in accounts]
        seconds = sorted(each["seconds"] for each in closures if each["seconds"] is not None)
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
        return Counter(filter(None, (each["opened_by"] for each in self.closures))).most_common(MOST_OPENERS)


def places_of(path: Path, regions: Sequence[str]) -> Iterator[Place]:
    """Return the accounts of c7n-org's file, each with the session of its role, as c7n-org makes one.

    :param regions: where to read; by default in the regions where c7n-org runs.
    :raises CommandError: the file is none of c7n-org's.
    """
    with requires_extra("org"):
        from c7n_org.cli import get_session

    for account in accounts(path):
        session = partial(get_session, account, "c7n-ingress-report")
        yield from (Place(account["account_id"], region, session) for region in regions_of(account, regions))


def read(places: Iterable[Place], since: dt.datetime, until: dt.datetime) -> Found:
    """Read the journals of all places. A place that cannot be read does not stop the others.

    :raises ClientError, BotoCoreError: AWS lets the caller read the records of no place, or did not answer.
    """
    found = Found(since, until)
    errors: list[BotoCoreError | ClientError] = []
    have_read = set()
    places = list(places)
    for place in places:
        found.accounts.setdefault(place.account)
        try:
            if place.region == ALL:
                regions = place.session(FIRST).client("ec2").describe_regions()["Regions"]
                places += [place._replace(region=each["RegionName"]) for each in regions]
            elif (here := (place.account, place.region)) not in have_read:  # c7n-org's file may list it twice
                _read(place, found)
                have_read.add(here)
        except NoCredentialsError:  # no other place has any
            raise
        except (BotoCoreError, ClientError) as error:
            errors.append(error)
            found.unread.append(f"{place.account} {place.region}: could not be read: {said(error)}")
    if errors and not have_read:
        raise errors[0]
    if not found.accounts:
        raise CommandError("there is no account and region to read: name one by --region")
    return found


def _read(place: Place, found: Found) -> None:
    lines = partial(_lines, place.session(place.region).client("logs"), found)
    here = place.account, place.region
    journals = {log_group: each for log_group in LOG_GROUPS if (each := lines(log_group, "{ ($.v = 1) }")) is not None}
    if not journals:
        found.notes.append(f"{' '.join(here)}: no journal. Is the stack there?")
    for record in filter(None, map(record_of, chain(*journals.values()))):
        if str(record["how"]) in CLOSED and record["was"]:
            found.closures.append(closure_of(record, place))
    for log_group in journals:
        for failure in filter(None, map(FAILURE.search, lines(log_group, '"replace-ingress: sg-"') or ())):
            if failure["group"]:
                found.failed.add((*here, failure["group"]))
    try:
        for match in filter(None, map(LOOKED.search, lines(EXEMPT_LOG, '"count:"') or ())):
            found.exempt[here] = int(match["count"])  # the last one counts
        for match in filter(None, map(UNDONE.match, lines(MAILERS_LOG, '"undone in"') or ())):
            found.undone |= {(match[1], match[2], group) for group in match[3].split(", ")}
    except ClientError as error:
        found.notes.append(f"{' '.join(here)}: exempt and undone groups are not counted: {said(error)}")


def _lines(client: Any, found: Found, log_group: str, pattern: str) -> list[str] | None:
    """Return the lines of a log group that match a pattern, the oldest first; None if there is no such group.

    :raises ClientError: AWS does not let the caller read it.
    """
    start, end = (int(time.timestamp() * 1000) for time in (found.since, found.until))
    request = {"logGroupName": log_group, "filterPattern": pattern, "startTime": start, "endTime": end}
    try:
        events = [*pages(client, "filter_log_events", "events", **request)]
    except client.exceptions.ResourceNotFoundException:  # another account notifies people, say
        return None
    return [event["message"] for event in sorted(events, key=itemgetter("timestamp"))]


def closure_of(record: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return the closure that a record is about. Anyone who may write to the log may have written the record."""
    texts = {name: str(record.get(key) or "") for name, key in COLUMNS.items()}
    seconds = record.get("seconds_open")
    known = seconds if isinstance(seconds, int | float) and abs(seconds) < MOST_SECONDS else None
    return texts | {"account": place.account, "region": place.region, "seconds": known}


# -- what is shown


def as_json(found: Found) -> str:
    """Return all of it for a program."""
    return json.dumps(
        {
            "v": VERSION,
            "since": found.since.isoformat(),
            "until": found.until.isoformat(),
            "accounts": [each._asdict() for each in found.summaries()],
            "openers": [{"opened_by": who, "closures": count} for who, count in found.openers()],
            "closures": found.closures,
            "notes": [*found.unread, *found.notes],
        },
        indent=1,
    )


def as_csv(found: Found) -> str:
    """Return the closures, a line each, for a spreadsheet."""
    return csv_of(COLUMNS, found.closures)


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
