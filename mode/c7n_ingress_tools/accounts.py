"""c7n-org's accounts: the file that lists them, the folders that it writes, and what it printed."""

from __future__ import annotations

import datetime as dt
import glob
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from click import UsageError

from c7n_ingress.decide import records
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.extras import requires_extra
from c7n_ingress_tools.settings import load

ALL = "all"
"""What c7n-org takes for all regions that an account has."""

SPAN = re.compile(r"(?P<days>\d{1,4})d|(?P<hours>\d{1,4})h")

PRINTED = (
    re.compile(r"Error running (?:policy|script) in (?P<name>.+) @ (?P<region>\S+) exception: (?P<why>.*)"),
    re.compile(r"(?P<why>Access denied api:\S+) policy:\S+ account:(?P<name>.+) region:(?P<region>\S+)"),
    re.compile(r"Exception running policy:\S+ account:(?P<name>.+?) region:(?P<region>\S+) error:(?P<why>.*)"),
    re.compile(r"(?P<why>unable to obtain credentials) for account:(?P<name>.+?) role:\S+ error:(?P<more>.*)"),
    re.compile(r"running script on account:(?P<name>.+?) region:(?P<region>\S+) script: "),
)
"""What c7n-org prints about an account that failed, and last, when it has credentials and starts a script.

In c7n_org/cli.py: `run_account`, `run`, `get_session` and `run_account_script`.
"""


class Listed(NamedTuple):
    """An account and region in which c7n-org runs."""

    name: str
    account: str
    """Its id."""
    region: str
    """`all` where only AWS knows which regions these are."""


class Written(NamedTuple):
    """Where c7n-org wrote for an account and region, or should have written."""

    name: str
    account: str
    """Its id, if c7n-org's file names it."""
    region: str
    folders: list[Path]


class Asked(NamedTuple):
    """Which accounts and regions there should be output of, and since when."""

    places: tuple[Listed, ...] | None = None
    """None: of those that wrote some."""
    since: dt.datetime | None = None
    """What is older is no output of theirs."""
    said: Mapping[tuple[str, str], str] = MappingProxyType({})
    """What c7n-org printed about those that failed, by name and region; the region is empty if it printed none.

    The text is empty where c7n-org started a script and printed no failure.
    """

    def why(self, name: str, region: str, *, wrote: bool = False) -> str | None:
        """Return what c7n-org printed about an account and region that failed.

        A failure without a region is about each region in which c7n-org started no script.

        :param wrote: whether the output shows that c7n-org had credentials there: it prints no start of a policy.
        """
        return self.said.get((name, region), None if wrote else self.said.get((name, "")))


EVERYBODY = Asked()


def asked(
    regions: Sequence[str], accounts: Path | None, tags: Sequence[str], since: dt.datetime | None, log: Path | None
) -> Asked:
    """Return which accounts and regions there should be output of, by default of the last day.

    :param accounts: c7n-org's file of accounts.
    :param log: a file with what c7n-org printed.
    """
    if accounts is None and (tags or regions):
        raise UsageError("--region needs --accounts or --journal, and --tag needs --accounts")
    a_day_ago = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
    return Asked(
        listed(accounts, regions, tags) if accounts else None,
        since or (a_day_ago if accounts else None),
        said(log) if log else {},
    )


def accounts(path: Path, tags: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the accounts of c7n-org's file, as c7n-org takes them.

    :param tags: only the accounts that have all of them.
    :raises CommandError: the file is none of c7n-org's, or lists no account, or none with these tags.
    """
    with requires_extra("org"):
        from c7n_org.cli import CONFIG_SCHEMA, accounts_iterator, comma_expand, filter_accounts
    from jsonschema import ValidationError, validate

    content = load(path)
    try:
        validate(content, CONFIG_SCHEMA)
    except ValidationError as error:
        said = f"{error.json_path}: {error.message:.200}"
        raise CommandError(f"{path} is not c7n-org's file of accounts: {said}") from None
    found = {"accounts": [{"name": each["account_id"], **each} for each in accounts_iterator(content)]}
    filter_accounts(found, comma_expand(tags), ())
    if not found["accounts"]:
        raise CommandError(f"{path} lists no account{' with the tag ' if tags else ''}{' and '.join(tags)}")
    return found["accounts"]


def regions_of(account: dict[str, Any], wanted: Sequence[str] = ()) -> list[str]:
    """Return the regions in which c7n-org runs for an account; `all` is left as it is, because AWS must be asked.

    :param wanted: the regions instead of those in c7n-org's file.
    """
    from c7n_org.cli import resolve_regions

    regions = wanted or account.get("regions") or ()
    return [ALL] if ALL in regions else [*resolve_regions(regions, account)]


def listed(path: Path, regions: Sequence[str] = (), tags: Sequence[str] = ()) -> tuple[Listed, ...]:
    """Return the accounts and regions of c7n-org's file.

    :raises CommandError: as `accounts` does, or two accounts have the same name.
    """
    found = accounts(path, tags)
    (name, times), *_ = Counter(each["name"] for each in found).most_common(1)
    if times > 1:
        raise CommandError(
            f"{path}: two accounts have the name {name!r}, so c7n-org writes their output into one folder: "
            "write other names, such as those of c7n-org aws-accounts --name '{name}-{account_id}'"
        )
    return tuple(
        Listed(each["name"], each["account_id"], region) for each in found for region in regions_of(each, regions)
    )


def written_in(
    folders: Sequence[Path], places: Iterable[Listed], failed: Collection[tuple[str, str]]
) -> Iterator[Written]:
    """Yield where c7n-org writes for each account and region: `<folder>/<name>/<region>`.

    Where it runs in all regions, these are the ones that it wrote something for, or printed that they failed. If it
    printed a failure and no region, `all` is one of them: there may be regions in which it did not run.

    :param failed: the names and regions for which it printed a failure.
    """
    for name, account, region in places:
        regions = [region]
        if region == ALL:
            found = [path for folder in folders for path in sorted(folder.glob(f"{glob.escape(name)}/*"))]
            printed = [each or ALL for account_name, each in failed if account_name == name]
            regions = [*dict.fromkeys([*(path.name for path in found if path.is_dir()), *printed])] or [ALL]
        for each in regions:
            yield Written(name, account, each, [folder / name / each for folder in folders])


def said(log: Path) -> dict[tuple[str, str], str]:
    """Read what c7n-org printed, and return why accounts and regions failed: see `Asked.said`."""
    found: dict[tuple[str, str], str] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := next(filter(None, (pattern.search(line) for pattern in PRINTED)), None):
            parts = match.groupdict("")
            why = ": ".join(filter(None, (parts.get("why"), parts.get("more"))))
            place = (parts["name"], parts.get("region", ""))
            found[place] = found.get(place) or why
    return found


def time_from(text: str, now: dt.datetime) -> dt.datetime:
    """Read a time, or a number of days or hours before now.

    :raises CommandError: names the value and the fix.
    """
    if match := SPAN.fullmatch(text):
        return now - dt.timedelta(days=int(match["days"] or 0), hours=int(match["hours"] or 0))
    try:
        time = records.time_from(text)
        time = time.astimezone(dt.timezone.utc) if time.tzinfo else time.replace(tzinfo=dt.timezone.utc)
        if time > now + dt.timedelta(days=1):  # a day: somebody may mean another time zone
            raise ValueError("it is in the future")
    except (ValueError, OverflowError):
        raise CommandError(f"--since {text!r:.40} is no time in the past: write 90d, 12h or 2026-01-31") from None
    return time


def too_old(last: dt.datetime, since: dt.datetime) -> str:
    """Return why output that was written at a time does not count."""
    times = (f"{each.astimezone(dt.timezone.utc):%Y-%m-%d %H:%M} UTC" for each in (since, last))
    return "no output since {}; the last is of {}".format(*times)
