"""Where the rows come from: what `custodian run` and c7n-org leave in their output folders, and the rehearsal."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from c7n_ingress.decide.exemptions import Entry
from c7n_ingress.decide.openness import open_sources
from c7n_ingress.decide.ports import parse_ports
from c7n_ingress.decide.rules import network, traffic
from c7n_ingress_tools.report.rows import (
    Facts,
    Group,
    Open,
    Record,
    Report,
    Row,
    Window,
    rows,
    worst_first,
)
from c7n_ingress_tools.report.text import counted

RESOURCES, METADATA, LOG = "resources.json", "metadata.json", "custodian-run.log"
MATCHED = "MatchedIpPermissions"
"""Where Cloud Custodian's filters note the permissions that they matched, each with one source."""

LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - \S+ - (?P<level>[A-Z]+) - (?P<message>.*)")
"""How c7n writes a line of its log: `LogOutput.log_format` in c7n/output.py."""
LOOKED = re.compile(r"policy:\S+ resource:\S+ region:\S+ count:(?P<count>\d+) ")
"""What c7n logs when the filters are done. Only then does it write resources.json, over that of an earlier run."""
FAILURE = re.compile(r"replace-ingress: (?:(?P<group>sg-[0-9a-f]+): )?(?P<why>.*)")
ACTION = "replace-ingress"
AGAIN = "Run the policy again, or take the folder away"
QUARTER = dt.timedelta(minutes=15)
SOURCES = {"IpRanges": "CidrIp", "Ipv6Ranges": "CidrIpv6", "PrefixListIds": "PrefixListId"}


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
    """Whether it was a dry run."""
    looked: bool = False
    """Whether its filters looked at the groups."""
    matched: int = 0
    """How many groups its filters matched."""
    groups: list[Group] = field(default_factory=list)
    """Those groups; c7n keeps them of the last run alone."""
    records: list[Record] = field(default_factory=list)
    failures: dict[str, list[str]] = field(default_factory=dict)
    """What went wrong with a group, by its id."""
    more_failures: list[str] = field(default_factory=list)
    """What went wrong besides."""

    def __str__(self) -> str:
        """Return the run in one line."""
        changed = len(
            {(each["group"], each["rule"]) for each in self.records if each["was"] and each["how"] != PREVIEW}
        )
        did = f"{counted(self.matched, 'group')} matched, {counted(changed, 'rule')} changed"
        did += ", a dry run" if self.dry else ""
        return f"{self.time[:10]} {self.time[11:16]} UTC, {self.account} {self.region}, {self.policy}: " + (
            did if self.looked else "stopped before it had looked at the groups"
        )


PREVIEW = "preview"


def of_runs(folders: Sequence[Path], now: dt.datetime) -> Report:
    """Return the report of all runs whose output is in the folders or anywhere below them.

    So `out` will do, as will c7n-org's folder of many accounts.

    :raises NoRunError: there is none, or it cannot be read.
    """
    of_folders = [read_runs(path) for folder in folders for path in _below(folder)]
    runs = sorted((run for runs in of_folders for run in runs), key=lambda run: run.time)
    made = [row for runs in of_folders for row in _rows_of(runs, now)]
    failures = [text for runs in of_folders for text in _failures_of(runs, made)]
    policies = tuple(dict.fromkeys(run.policy for run in runs))
    dry = " Nothing was changed: it was a dry run." if all(run.dry for run in runs) else ""
    return Report(
        title="Open ingress: what was swept",
        made=f"{counted(len(runs), 'run')} of Cloud Custodian looked for groups that let the internet in.{dry}",
        time=max(run.time for run in runs),
        policies=policies,
        rows=worst_first(made),
        failures=tuple(failures),
        notes=(UNLISTED,),
        runs=tuple(map(str, runs)),
    )


UNLISTED = "A sweep does not list what its policy leaves open: exempt groups and public ports."


def of_rehearsal(  # noqa: PLR0913 - what a rehearsal leaves
    groups: Sequence[Group],
    records: Iterable[Record],
    failures: Iterable[str],
    *,
    account: str,
    region: str,
    now: dt.datetime,
    facts: Mapping[str, Facts] | None = None,
    notes: Sequence[str] = (),
    window: Window | None = None,
    public_ports: Collection[int | str] = (),
    exemptions: Iterable[Entry] = (),
) -> Report:
    """Return the report of a rehearsal: what its function did to a copy of the user's groups.

    A failure is about a group if it begins with the group's id. An open rule that the function left alone, as one of an
    exempt group, has a row, too.

    :param notes: sentences about what the rehearsal took as given.
    :param window: the flow logs that were read.
    :param public_ports: the ports that the rehearsed policy leaves open.
    :param exemptions: its register of exemptions.
    """
    of_groups, others = _failures_by_group(groups, failures)
    made = rows(
        groups,
        records,
        [each for group in groups for each in _open_rules(group, public_ports)],
        account=account,
        region=region,
        failures=of_groups,
        facts=facts,
        exemptions=exemptions,
        today=now.date(),
    )
    shown = {row.group for row in made}
    others += [f"{group}: {why}" for group, said in of_groups.items() if group not in shown for why in said]
    return Report(
        title="Open ingress: a rehearsal",
        made="Rehearsed on a copy of the security groups, on one machine: nothing was changed in AWS.",
        time=_iso(now),
        policies=("open-ingress",),
        rows=worst_first(made),
        failures=tuple(others),
        looked_at=len(groups),
        window=window,
        notes=(*notes, *([f"Public ports may be open: {', '.join(map(str, public_ports))}."] if public_ports else [])),
    )


def read_runs(folder: Path) -> list[Run]:
    """Read what the runs of a policy left in its folder, the oldest first.

    c7n appends to the log, and writes resources.json and metadata.json over those of the run before. So the log shows
    what each run changed, and what a run found open is known of the last run only. Where that run stopped before its
    filters were done, resources.json is of an earlier run.

    :raises NoRunError: the files are not what c7n writes.
    """
    metadata = _json(folder / METADATA)
    try:
        config, execution = metadata["config"], metadata["execution"]
        start, end = (dt.datetime.fromtimestamp(execution[key], dt.timezone.utc) for key in ("start", "end_time"))
        where = metadata["policy"]["name"], config["account_id"] or "", config["region"] or ""
        dry = config["dryrun"]
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:  # the last three: no time on earth
        raise NoRunError(f"{folder / METADATA}: not what Cloud Custodian writes ({error!r}). {AGAIN}") from error
    *earlier, last = _runs_in(folder / LOG, start, end, where)
    last.dry = dry
    if last.looked:
        last.groups.extend(_groups(folder / RESOURCES))
    else:
        why = next(iter(last.more_failures), f"see {folder / LOG}")  # what c7n says after the first error is of no use
        last.more_failures = [f"the run stopped before it had looked at the groups: {why}"]
    return [*earlier, last]


def _groups(path: Path) -> list[Group]:
    """Read the groups that a run's filters matched, and try whether they can be reported of."""
    groups: list[Group] = _json(path)
    try:
        for group in groups:
            group["GroupId"].strip()
            list(_matched(group))
            dict.fromkeys((tag["Key"].strip(), tag["Value"].strip()) for tag in group.get("Tags") or ())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoRunError(f"{path}: not what Cloud Custodian writes ({error!r}). {AGAIN}") from error
    return groups


def _below(folder: Path) -> list[Path]:
    """Find the folders below one in which a policy has been run that closes groups."""
    found = [path.parent for path in sorted(folder.rglob(METADATA)) if _is_sweep(path)]
    if not found:
        raise NoRunError(
            f"{folder}: no run of a policy that closes groups is there. This makes one: "
            "custodian run --region us-east-1 --vars-file settings.yml -s out policies/open-ingress-sweep.yml"
        )
    return found


def _is_sweep(metadata: Path) -> bool:
    """Whether a run closed groups itself; one of a policy with a mode has deployed a function that does so later."""
    written = _json(metadata)
    try:
        policy = written["policy"]
        actions = [action if isinstance(action, str) else action["type"] for action in policy.get("actions") or ()]
    except (AttributeError, KeyError, TypeError) as error:
        raise NoRunError(f"{metadata}: not what Cloud Custodian writes ({error!r})") from error
    return ACTION in actions and "mode" not in policy and (metadata.parent / LOG).exists()


def _rows_of(runs: Sequence[Run], now: dt.datetime) -> list[Row]:
    """Return the rows of a folder's runs: of a rule that several runs are about, the last run's."""
    made: dict[tuple[Any, ...], Row] = {}
    for run in runs:
        found = [each for group in run.groups for each in _matched(group)]
        try:
            of_run = rows(
                run.groups,
                run.records,
                found,
                account=run.account,
                region=run.region,
                failures=run.failures,
                today=now.date(),
            )
        except ValueError as error:
            raise NoRunError(f"{run.policy}: {error}. A report is made of a policy that closes groups") from error
        made |= {row.key: row for row in of_run}
    return list(made.values())


def _failures_of(runs: Sequence[Run], made: Sequence[Row]) -> list[str]:
    """Return the failures that no row shows.

    A group that failed in an earlier run and that the last one did not match is not open any more.
    """
    *earlier, last = runs
    where = f"{last.account} {last.region}: "
    shown = {row.group for row in made}
    of_groups = {group: said for run in ([last] if last.looked else runs) for group, said in run.failures.items()}
    unseen = [f"{where}{group}: {why}" for group, said in of_groups.items() if group not in shown for why in said]
    before = [f"{run.time[:10]} {run.time[11:16]} UTC, {where}{why}" for run in earlier for why in run.more_failures]
    return [*unseen, *(where + why for why in last.more_failures), *before]


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
            run.looked, run.matched, run.time = True, int(looked["count"]), _iso(time - ahead)
        _read_line(line["level"], line["message"], run)
    return runs if last else [*runs, Run(*where, _iso(end))]


def _read_line(level: str, message: str, run: Run) -> None:
    """Read a line of a run's log into the run."""
    if level == "INFO" and message.startswith("{"):
        if record := _record(message):
            run.records.append(record)
    elif level == "ERROR" and (said := FAILURE.fullmatch(message)):
        if group := said["group"]:
            run.failures.setdefault(group, []).append(said["why"])
        elif not said["why"].endswith(" failed"):  # what comes with a trace is said again in one line
            run.more_failures.append(said["why"])
    elif level == "ERROR" and not run.looked:
        run.more_failures.append(message)


def _record(message: str) -> Record | None:
    """Read a record; None for other JSON that somebody logs."""
    try:
        record = json.loads(message)
    except (json.JSONDecodeError, RecursionError):
        return None
    return record if {"group", "traffic", "was", "now", "how", "time"} <= record.keys() else None


def _matched(group: Group) -> Iterator[Open]:
    """Yield the rules that the policy's filters matched."""
    for permission in group.get(MATCHED) or ():
        yield from _opened(group["GroupId"], permission)


def _open_rules(group: Group, public_ports: Collection[int | str]) -> Iterator[Open]:
    """Yield the rules of a group that the filter `open-ingress` matches; what a prefix list holds is not known here."""
    public = parse_ports([*public_ports])
    rules = [
        (each, of)
        for permission in group.get("IpPermissions") or ()
        if not public.are_exactly(of := traffic(permission))
        for each in _opened(group["GroupId"], permission)
        if not each.source.startswith("pl-")
    ]
    sources = {number: [ip_network(each.source)] for number, (each, _) in enumerate(rules)}
    for number in sorted(open_sources({number: of for number, (_, of) in enumerate(rules)}, sources)):
        yield rules[number][0]


def _opened(group: str, permission: Mapping[str, Any]) -> Iterator[Open]:
    of = traffic(permission)
    for kind, name in SOURCES.items():
        for each in permission.get(kind) or ():
            source = each[name] if kind == "PrefixListIds" else str(network(each[name]))
            yield Open(group, of, source, each.get("Description") or "")


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
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise NoRunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise NoRunError(f"{path}: no JSON that can be read ({error})") from error


def _iso(when: dt.datetime) -> str:
    return when.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
