"""Where the rows come from: what `custodian run` and c7n-org leave in their output folders, and the rehearsal."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from c7n_ingress.decide.exemptions import Entry
from c7n_ingress.decide.openness import open_sources
from c7n_ingress.decide.ports import parse_ports
from c7n_ingress.decide.records import time_from
from c7n_ingress.decide.rules import NETWORKS, SOURCES, network, traffic
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.accounts import EVERYBODY, Asked, Written, too_old, written_in
from c7n_ingress_tools.report.rows import (
    EXEMPT,
    Group,
    Place,
    Record,
    Report,
    Row,
    Window,
    rows,
    states_of,
    worst_first,
)

RESOURCES, METADATA, LOG = "resources.json", "metadata.json", "custodian-run.log"
MATCHED = "MatchedIpPermissions"
"""Where Cloud Custodian's filters note the permissions that they matched, each with one source."""

LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - \S+ - (?P<level>[A-Z]+) - (?P<message>.*)")
"""How c7n writes a line of its log: `LogWritten.log_format` in c7n/output.py."""
LOOKED = re.compile(r"policy:\S+ resource:\S+ region:\S+ count:(?P<count>\d{1,9}) ")
"""What c7n logs when the filters are done. Only then does it write resources.json, over that of an earlier run."""
LEFT_OPEN = re.compile(r"exempt: left open in (\d+) groups?")
"""What the filter `exempt` logs: before that line about all groups, after it when the action reads a group again."""
FAILURE = re.compile(r"replace-ingress: (?:(?P<group>sg-[0-9a-f]+): )?(?P<why>.*)")
ACTION = "replace-ingress"
AGAIN = "Run the policy again, or take the folder away"
NOT_WRITTEN = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError)
"""What Python raises on a file that somebody else wrote, or that is broken."""
QUARTER = dt.timedelta(minutes=15)


class NoRunError(ValueError):
    """A folder is not what a run leaves: one line that names it and says which command makes one."""


@dataclass
class Run:
    """What one run of a policy in one account and region left."""

    policy: str
    account: str
    region: str
    time: str
    """When its filters were done, or when it stopped before."""
    dry: bool = False
    matched: int | None = None
    """How many groups its filters matched; None if it stopped before they had looked at the groups."""
    exempt: int = 0
    """In how many groups its filters left out rules that are exempt."""
    groups: list[Group] = field(default_factory=list)
    """The groups that its filters matched; c7n keeps them of the last run alone."""
    records: list[Record] = field(default_factory=list)
    failures: dict[str, list[str]] = field(default_factory=dict)
    """What went wrong with a group, by its id."""
    more_failures: list[str] = field(default_factory=list)
    """What went wrong besides."""
    failure: str | None = None
    """Why it failed, if it did; c7n notes that of the last run alone."""

    @property
    def looked(self) -> bool:
        """Whether its filters looked at the groups."""
        return self.matched is not None

    def __str__(self) -> str:
        """Return the run in one line."""
        did = "stopped before it had looked at the groups"
        if self.matched is not None:
            of_rules = [each for each in self.records if each["was"] and each["how"] != "preview"]
            changed = counted(len({(each["group"], each["rule"]) for each in of_rules}), "rule")
            did = f"{counted(self.matched, 'group')} matched, {changed} changed{', a dry run' if self.dry else ''}"
        return f"{self.time[:10]} {self.time[11:16]} UTC, {self.account} {self.region}, {self.policy}: {did}"


FAILED = "the policy failed after it had looked at the groups"
PRINTED = "c7n-org printed why an account failed. Keep what it prints in a file, and name the file: --log c7n-org.log."


class Swept(NamedTuple):
    """What was read of an account and region."""

    place: Place
    rows: list[Row]
    runs: list[Run]
    failures: list[str]
    """Those that no row has."""
    unread: list[NoRunError]
    """Why output could not be read."""


def of_runs(folders: Sequence[Path], now: dt.datetime, asked: Asked = EVERYBODY) -> Report:
    """Return the report of all runs whose output is in the folders or anywhere below them.

    So `out` will do, as will c7n-org's folder of many accounts. An account and region that cannot be read, or that
    should have output and has none, has failed.

    :raises NoRunError: there is none, or none can be read.
    """
    if asked.places is None:
        outputs = [each for folder in folders for each in _below(folder)]
    else:
        outputs = [
            each._replace(folders=_of_sweeps([path for folder in each.folders for path in _folders_of_runs(folder)]))
            for each in written_in(folders, asked.places, asked.said)
        ]
    swept = [_swept(output, now, asked) for output in outputs]
    if asked.places is None and all(each.unread and not each.runs for each in swept):
        raise swept[0].unread[0]
    runs = sorted((run for each in swept for run in each.runs), key=lambda run: run.time)
    dry = " Nothing was changed: it was a dry run." if runs and all(run.dry for run in runs) else ""
    return Report(
        title="Open ingress: what was swept",
        made=f"{counted(len(runs), 'run')} of Cloud Custodian looked for groups that let the internet in.{dry}",
        time=max((run.time for run in runs), default=_iso(now)),
        policies=tuple(dict.fromkeys(run.policy for run in runs)),
        rows=worst_first(row for each in swept for row in each.rows),
        failures=tuple(text for each in swept for text in each.failures),
        runs=tuple(map(str, runs)),
        notes=(UNLISTED, *([] if asked.said or all(each.runs for each in swept) else [PRINTED])),
        places=tuple(sorted((each.place for each in swept), key=lambda place: place.urgency)),
    )


UNLISTED = "A sweep counts the groups that are exempt, and does not list them. It does not look at public ports."


def of_rehearsal(  # noqa: PLR0913 - what a rehearsal leaves
    groups: Sequence[Group],
    records: Iterable[Record],
    failures: Iterable[str],
    *,
    account: str,
    region: str,
    now: dt.datetime,
    known: Callable[[Row], Mapping[str, Any]] = lambda _: {},
    notes: Sequence[str] = (),
    window: Window | None = None,
    public_ports: Collection[int | str] = (),
    exemptions: Iterable[Entry] = (),
) -> Report:
    """Return the report of a rehearsal: what its function did to a copy of the user's groups.

    A failure is about a group if it begins with the group's id. An open rule that the function left alone, as one of an
    exempt group, has a row, too.

    :param known: returns what else is known of a rule, as rows() takes it.
    :param notes: sentences about what the rehearsal took as given.
    :param window: the flow logs that were read.
    :param public_ports: the ports that the rehearsed policy leaves open.
    :param exemptions: its register of exemptions.
    """
    of_groups, others = _failures_by_group(groups, failures)
    made = rows(
        groups,
        records,
        partial(_open_permissions, public_ports),
        account=account,
        region=region,
        failures=of_groups,
        known=known,
        exemptions=exemptions,
        today=now.date(),
    )
    return Report(
        title="Open ingress: a rehearsal",
        made="Rehearsed on a copy of the security groups, on one machine: nothing was changed in AWS.",
        time=_iso(now),
        policies=("open-ingress",),
        rows=worst_first(made),
        failures=(*others, *_without_row(of_groups, made)),
        looked_at=len(groups),
        window=window,
        notes=(*notes, *([f"Public ports may be open: {', '.join(map(str, public_ports))}."] if public_ports else [])),
    )


def read_runs(folder: Path) -> list[Run]:
    """Read what the runs of a policy left in its folder, the oldest first.

    c7n appends to the log, and writes resources.json and metadata.json over those of the run before. So the log shows
    what each run changed, and what a run found open is known of the last run only. Where that run stopped before its
    filters were done, resources.json is of an earlier run.
    """
    metadata = _json(folder / METADATA)
    config, execution = metadata["config"], metadata["execution"]
    start, end = (dt.datetime.fromtimestamp(execution[key], dt.timezone.utc) for key in ("start", "end_time"))
    where = str(metadata["policy"]["name"]), str(config["account_id"] or ""), str(config["region"] or "")
    *earlier, last = _runs_in(folder / LOG, start, end, where)
    last.dry = config["dryrun"]
    failed = any(each["MetricName"] == "PolicyException" for each in metadata.get("metrics") or ())
    if last.looked:
        last.groups = _json(folder / RESOURCES)
    else:
        why = next(iter(last.more_failures), f"see {folder / LOG}")  # what c7n says after the first error is of no use
        last.more_failures = [f"the run stopped before it had looked at the groups: {why}"]
    if failed or not last.looked:
        of_all = [f"{counted(len(last.failures), 'group')} failed: {why}" for why in _without_row(last.failures)[:1]]
        last.failure = [*last.more_failures, *of_all, FAILED][0]
    return [*earlier, last]


def _below(folder: Path) -> list[Written]:
    """Find below a folder where policies that close groups have been run."""
    found: dict[Path, Written] = {}
    for path in _of_sweeps(_folders_of_runs(folder)):
        *_, name, region = "", "", *path.relative_to(folder).parts[:-1]
        found.setdefault(path.parent, Written(name, "", region, [])).folders.append(path)
    if not found:
        raise NoRunError(
            f"{folder}: no run of a policy that closes groups is there. This makes one: "
            "custodian run --region us-east-1 --vars-file settings.yml -s out policies/open-ingress-sweep.yml"
        )
    return list(found.values())


def _folders_of_runs(folder: Path) -> list[Path]:
    """Return the folders in which policies have been run, and those that cannot be read: they may hold some."""
    unread: list[OSError] = []
    found = [Path(path) for path, _, files in os.walk(folder, onerror=unread.append) if LOG in files]
    nothing = (FileNotFoundError, NotADirectoryError)
    return sorted([*found, *(Path(error.filename) for error in unread if not isinstance(error, nothing))])


def _of_sweeps(folders: Collection[Path]) -> list[Path]:
    """Return the folders of policies that close groups. What a run that stopped has left is taken to be of one.

    A policy with a mode deploys a function that closes groups later.
    """
    others = {folder.name for folder in folders if _does_something_else(folder / METADATA)}
    return [folder for folder in folders if folder.name not in others]


def _does_something_else(path: Path) -> bool:
    """Whether a run noted a policy that does not close groups itself."""
    try:
        policy = _json(path)["policy"]
        actions = [each if isinstance(each, str) else each["type"] for each in policy.get("actions") or ()]
    except (*NOT_WRITTEN, OSError):
        return False
    return ACTION not in actions or "mode" in policy


def _swept(output: Written, now: dt.datetime, asked: Asked) -> Swept:
    """Read what the runs in an account and region left."""
    made: list[Row] = []
    runs: list[Run] = []
    failures: list[str] = []
    shown: list[str] = []  # why runs failed, which rows or failures have already
    wrong = [] if output.folders else ["no output: the policy was refused, or c7n-org did not run there"]
    unread: list[NoRunError] = []
    exempt = 0
    for folder in output.folders:
        try:
            if not (folder / METADATA).exists():
                wrong.append("the run began and wrote no result, usually because its role cannot be assumed")
                continue
            *_, last = every = read_runs(folder)
            of_policy = [run for run in every if not asked.since or run.time >= _iso(asked.since)]
            of_folder = _rows_of(of_policy, now)
        except OSError as error:
            unread.append(NoRunError(f"{error.filename or folder}: cannot be read ({error.strerror})"))
            continue
        except NOT_WRITTEN as error:
            unread.append(NoRunError(f"{folder}: not what Cloud Custodian writes ({error!r:.200}). {AGAIN}"))
            continue
        if output.account and last.account != output.account:
            wrong.append(f"its folder has the output of account {last.account}")
            continue
        if asked.since and not of_policy:
            wrong.append(too_old(time_from(last.time), asked.since))
            continue
        made += of_folder
        runs += of_policy
        failures += _failures_of(of_policy, of_folder)
        exempt += last.exempt
        if last.failure:
            (wrong if last.failure == FAILED else shown).append(last.failure)
    wrong += map(str, unread)
    if (printed := asked.why(output.name, output.region, wrote=bool(runs))) and (wrong or not shown):
        wrong = [printed]
    latest = max(runs, key=lambda run: run.time, default=Run("", output.account, output.region, ""))
    groups = states_of(made) + Counter({EXEMPT: exempt})
    place = Place(output.name, latest.account, latest.region, latest.time, groups, "; ".join([*wrong, *shown]) or None)
    return Swept(place, made, runs, [*(f"{place}: {why}" for why in wrong), *failures], unread)


def _rows_of(runs: Sequence[Run], now: dt.datetime) -> tuple[Row, ...]:
    """Return the rows of a folder's runs, worst first: of a rule that several runs are about, the last run's."""
    made: dict[tuple[Any, ...], Row] = {}
    for run in runs:
        where: dict[str, Any] = {"account": run.account, "region": run.region, "today": now.date()}
        of_run = rows(run.groups, run.records, lambda group: group.get(MATCHED) or (), failures=run.failures, **where)
        made |= {row.key: row for row in of_run}
    for row in made.values():  # what is no text in it raises a TypeError here, and not where the report is written
        names = (row.account, row.region, row.vpc, row.group, row.name, row.description, row.before, row.rule or "")
        "".join([*names, *row.after, *row.others, *row.tags, *row.tags.values()])
    return worst_first(made.values())


def _failures_of(runs: Sequence[Run], made: Sequence[Row]) -> list[str]:
    """Return the failures that no row shows.

    A group that failed in an earlier run and that the last one did not match is not open any more.
    """
    last = runs[-1]
    of_groups = {group: said for run in ([last] if last.looked else runs) for group, said in run.failures.items()}
    return [f"{last.account} {last.region}: {why}" for why in (*_without_row(of_groups, made), *last.more_failures)]


def _without_row(failures: Mapping[str, Sequence[str]], made: Iterable[Row] = ()) -> list[str]:
    """Return what went wrong with groups that have no row, by the groups' ids."""
    shown = {row.group for row in made}
    return [f"{group}: {why}" for group, said in failures.items() if group not in shown for why in said]


def _runs_in(log: Path, start: dt.datetime, end: dt.datetime, where: tuple[str, str, str]) -> list[Run]:
    """Read from a log what each run changed, why groups failed, and what else went wrong.

    c7n writes the time of the clock where it ran, which need not be here. A run logs something at its end, so the last
    line shows how far that clock is from UTC: a number of quarters of an hour.

    :param start: when the last run began.
    :param end: when it ended.
    """
    with log.open(encoding="utf-8", errors="replace") as file:
        lines = [line for line in map(LINE.match, file) if line]
    times = [dt.datetime.strptime(f"{line['time']}+0000", "%Y-%m-%d %H:%M:%S,%f%z") for line in lines]
    ahead = round((times[-1] - end) / QUARTER) * QUARTER if times else dt.timedelta()
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)  # the log has milliseconds
    runs: list[Run] = []
    last = None
    for line, time in zip(lines, times, strict=True):
        begins = last is None and time - ahead >= start
        looked = LOOKED.match(line["message"])
        if begins:
            runs.append(last := Run(*where, _iso(end)))
        elif not runs or (looked and runs[-1].looked and last is None):
            runs.append(Run(*where, _iso(time - ahead)))
        run = runs[-1]
        if looked and not run.looked:
            run.matched, run.time = int(looked["count"]), _iso(time - ahead)
        _read_line(line["level"], line["message"], run)
    return runs if last else [*runs, Run(*where, _iso(end))]


def _read_line(level: str, message: str, run: Run) -> None:
    """Read a line of a run's log into the run."""
    if level == "INFO" and message.startswith("{"):
        if record := record_of(message):
            run.records.append(record)
    elif not run.looked and (left := LEFT_OPEN.fullmatch(message)):
        run.exempt += int(left[1])
    elif level == "ERROR" and (said := FAILURE.fullmatch(message)):
        if group := said["group"]:
            run.failures.setdefault(group, []).append(said["why"])
        elif not said["why"].endswith(" failed"):  # what comes with a trace is said again in one line
            run.more_failures.append(said["why"])
    elif level == "ERROR" and not run.looked:
        run.more_failures.append(message)


def record_of(message: str) -> Record | None:
    """Read a record from a line of a log; None for anything else that somebody logs."""
    try:
        record = json.loads(message)
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and {"group", "traffic", "was", "now", "how", "time"} <= record.keys()
    return record if is_record else None


def _open_permissions(public_ports: Collection[int | str], group: Group) -> list[dict[str, Any]]:
    """Return what the filter `open-ingress` matches in a group, as it notes it: permissions with one source each.

    What a prefix list holds is not known here.
    """
    public = parse_ports([*public_ports])
    rules = [
        ({**permission, **dict.fromkeys(SOURCES, ()), listing: [each]}, traffic(permission), network(each[key]))
        for permission in group.get("IpPermissions") or ()
        if traffic(permission) not in public
        for listing, key in NETWORKS.items()
        for each in permission.get(listing) or ()
    ]
    traffics = {number: of for number, (_, of, _) in enumerate(rules)}
    networks = {number: [source] for number, (*_, source) in enumerate(rules)}
    return [rules[number][0] for number in sorted(open_sources(traffics, networks))]


def _failures_by_group(groups: Sequence[Group], failures: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Part failures that begin `sg-0123 (name): ` from those that are about no one group."""
    begins = {group["GroupId"]: f"{group['GroupId']} ({group.get('GroupName')}): " for group in groups}
    of_groups: dict[str, list[str]] = {}
    others: list[str] = []
    for failure in failures:
        group = failure.partition(" ")[0]
        if group in begins and failure.startswith(begins[group]):
            of_groups.setdefault(group, []).append(failure.removeprefix(begins[group]))
        else:
            others.append(failure)
    return of_groups, others


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _iso(when: dt.datetime) -> str:
    return when.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
