"""Where the rows come from: what `custodian run` and c7n-org leave in their output folders, and the rehearsal."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from c7n_ingress.decide.openness import is_open
from c7n_ingress.decide.rules import ports_text, traffic
from mode.report.rows import EXPOSURES, Caller, CutOff, Facts, Group, Open, Record, Report, Row, rows, worst_first

RESOURCES, METADATA, LOG = "resources.json", "metadata.json", "custodian-run.log"
MATCHED = "MatchedIpPermissions"
"""Where Cloud Custodian's filters note the permissions that they matched, each with one source."""

LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - \S+ - (?P<level>[A-Z]+) - (?P<message>.*)")
"""How c7n writes a line of its log: `LogOutput.log_format` in c7n/output.py."""
LOOKED = re.compile(r"policy:\S+ resource:\S+ region:\S+ count:\d+ ")
"""What c7n logs when the filters are done; it then writes resources.json anew, and not before."""
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
    """When it ended."""
    changed_nothing: bool
    """Whether it was a dry run."""
    groups: list[Group] = field(default_factory=list)
    """Those that its filters matched."""
    records: list[Record] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Why a group failed, by its id."""
    more_failures: list[str] = field(default_factory=list)
    """What failed besides."""


def of_runs(folders: Sequence[Path], facts: Mapping[str, Facts], now: dt.datetime) -> Report:
    """Report of the runs whose output lies in the folders or anywhere below them.

    So `out` will do, as will c7n-org's folder of many accounts. Raises NoRunError if there is none, or if what is there
    cannot be read.
    """
    runs = [read_run(path) for folder in folders for path in _below(folder)]
    made = [row for run in runs for row in _rows_of(run, facts, now)]
    failures = [text for run in runs for text in _failures_of(run, made)]
    policies = tuple(dict.fromkeys(run.policy for run in runs))
    dry = " Nothing was changed: it was a dry run." if all(run.changed_nothing for run in runs) else ""
    return Report(
        title="Open ingress: what was swept",
        made=f"{_count(len(runs), 'run')} of Cloud Custodian looked for security groups that let the internet in.{dry}",
        time=max(run.time for run in runs),
        policies=policies,
        rows=worst_first(made),
        failures=tuple(failures),
    )


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
) -> Report:
    """Report of a rehearsal: what its function did to a copy of one's own groups.

    The notes are sentences about what the rehearsal took as given.

    A failure is told of a group if it begins with the group's id, of the whole if not. What is open in a group that the
    function left alone is there, too: an exempt group is still open.
    """
    of_groups, others = _failures_by_group(groups, failures)
    made = rows(
        groups,
        records,
        [each for group in groups for each in _wide(group)],
        account=account,
        region=region,
        failures=of_groups,
        facts=facts,
        today=now.date().isoformat(),
    )
    shown = {row.group for row in made}
    others += [f"{group}: {why}" for group, why in of_groups.items() if group not in shown]
    return Report(
        title="Open ingress: a rehearsal",
        made=" ".join(
            ("Rehearsed on a copy of the security groups, on one machine: nothing was changed in AWS.", *notes)
        ),
        time=_iso(now),
        policies=("open-ingress",),
        rows=worst_first(made),
        failures=tuple(others),
        looked_at=len(groups),
    )


def read_run(folder: Path) -> Run:
    """Read what a run of `custodian run` left in the policy's folder.

    c7n writes resources.json when the filters are done, and metadata.json at the end. It goes on in the log of earlier
    runs, so that only what the log has since this run's start counts; and resources.json may be an earlier run's if
    this one stopped before. Raises NoRunError.
    """
    metadata = _json(folder / METADATA)
    try:
        config, execution = metadata["config"], metadata["execution"]
        start, end = (dt.datetime.fromtimestamp(execution[key], dt.timezone.utc) for key in ("start", "end_time"))
        run = Run(
            metadata["policy"]["name"],
            config["account_id"] or "",
            config["region"] or "",
            _iso(end),
            changed_nothing=config["dryrun"],
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:  # the last three: no time on earth
        raise NoRunError(f"{folder / METADATA}: not what Cloud Custodian writes ({error!r}). {AGAIN}") from error
    if _read_log(folder / LOG, start, end, run):
        run.groups.extend(_groups(folder / RESOURCES))
    else:
        why = next(iter(run.more_failures), f"see {folder / LOG}")  # what c7n says after the first error is of no use
        run.more_failures = [f"the run stopped before it had looked at the groups: {why}"]
    return run


def _groups(path: Path) -> list[Group]:
    """Read the groups that a run's filters matched, and try whether they can be reported of."""
    groups = _json(path)
    try:
        for group in groups:
            group["GroupId"].strip()
            list(_matched(group))
            dict.fromkeys((tag["Key"].strip(), tag["Value"].strip()) for tag in group.get("Tags") or ())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoRunError(f"{path}: not what Cloud Custodian writes ({error!r}). {AGAIN}") from error
    return groups


def facts_from(path: Path | None) -> dict[str, Facts]:
    """Read what else is known of groups, by their ids: `exposure`, `behind` and `cut_off`, each of them optional.

        {"sg-0123": {"exposure": "internet", "behind": ["load balancer shop"], "cut_off": {
            "tcp 443 from 0.0.0.0/0": {"count": 1, "bytes": 8041, "callers": [
                {"source": "198.51.100.7", "bytes": 8041, "last_seen": "2026-05-04 10:02"}]}}}}

    Raises NoRunError, which names the value, for anything else.
    """
    if path is None:
        return {}
    known = _json(path)
    if not isinstance(known, dict):
        raise NoRunError(f"{path}: not what is known of groups, by their ids, but a {type(known).__name__}")
    return {group: _facts(of, f"{path}: not what is known of groups ({group}: ") for group, of in known.items()}


def _below(folder: Path) -> list[Path]:
    """Find the folders below one in which a policy has been run that closes groups."""
    found = [path.parent for path in sorted(folder.rglob(METADATA)) if _is_sweep(path)]
    if not found:
        raise NoRunError(
            f"{folder}: no run of a policy that closes groups is there. This makes one: "
            "custodian run --region us-east-1 -s out policies/open-ingress-sweep.yml"
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


def _rows_of(run: Run, facts: Mapping[str, Facts], now: dt.datetime) -> list[Row]:
    try:
        return rows(
            run.groups,
            run.records,
            [each for group in run.groups for each in _matched(group)],
            account=run.account,
            region=run.region,
            failures=run.failures,
            facts=facts,
            today=now.date().isoformat(),
        )
    except ValueError as error:
        raise NoRunError(f"{run.policy}: {error}. A report is made of a policy that closes groups") from error


def _failures_of(run: Run, made: Sequence[Row]) -> list[str]:
    """Give the failures that no row tells of."""
    shown = {row.group for row in made}
    where = f"{run.account} {run.region}: "
    told = [f"{where}{group}: {why}" for group, why in run.failures.items() if group not in shown]
    return told + [where + why for why in run.more_failures]


def _read_log(log: Path, start: dt.datetime, end: dt.datetime, run: Run) -> bool:
    """Read into a run its records, why each group failed, and what else went wrong; say if it looked at the groups."""
    looked = False
    for level, message in _messages(log, start, end):
        looked = looked or bool(LOOKED.match(message))
        if level == "INFO" and message.startswith("{"):
            if record := _record(message):
                run.records.append(record)
        elif level == "ERROR" and (said := FAILURE.fullmatch(message)):
            if group := said["group"]:
                run.failures[group] = said["why"]
            elif not said["why"].endswith(" failed"):  # what comes with a trace is told again in one line
                run.more_failures.append(said["why"])
        elif level == "ERROR" and not looked:
            run.more_failures.append(message)
    return looked


def _messages(log: Path, start: dt.datetime, end: dt.datetime) -> list[tuple[str, str]]:
    """Give level and message of each line that the last run has logged.

    c7n writes the time of the clock on the wall where it ran, which need not be here. A run logs something at its end,
    so the last line tells how far that clock is from UTC: by a number of quarters of an hour.
    """
    with log.open(encoding="utf-8", errors="replace") as file:
        lines = [line for line in map(LINE.match, file) if line]
    if not lines:
        return []
    last = dt.datetime.strptime(lines[-1]["time"], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=dt.timezone.utc)
    first = start + round((last - end) / QUARTER) * QUARTER
    since = f"{first:%Y-%m-%d %H:%M:%S},{first.microsecond // 1000:03}"
    return [(line["level"], line["message"]) for line in lines if line["time"] >= since]


def _record(message: str) -> Record | None:
    """Read a record; None for other JSON that somebody logs."""
    try:
        record = json.loads(message)
    except (json.JSONDecodeError, RecursionError):
        return None
    return record if {"group", "protocol", "ports", "was", "now", "how", "time"} <= record.keys() else None


def _matched(group: Group) -> Iterator[Open]:
    """Yield the rules that the policy's filters matched."""
    for permission in group.get(MATCHED) or ():
        yield from _opened(group["GroupId"], permission)


def _wide(group: Group) -> Iterator[Open]:
    """Yield the rules that let in a network that counts as open."""
    for permission in group.get("IpPermissions") or ():
        for each in _opened(group["GroupId"], permission):
            if not each.source.startswith("pl-") and _is_wide(each.source):
                yield each


def _is_wide(cidr: str) -> bool:
    return is_open(ip_network(cidr))


def _opened(group: str, permission: Mapping[str, Any]) -> Iterator[Open]:
    of = traffic(permission)
    for kind, name in SOURCES.items():
        for each in permission.get(kind) or ():
            source = each[name] if kind == "PrefixListIds" else str(ip_network(each[name], strict=False))
            yield Open(group, of.protocol, ports_text(of), source, each.get("Description") or "")


def _failures_by_group(groups: Sequence[Group], failures: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Part failures that begin `sg-0123 (name): ` from those that are about no one group."""
    begins = {group["GroupId"]: f"{group['GroupId']} ({group.get('GroupName')}): " for group in groups}
    of_groups: dict[str, str] = {}
    others: list[str] = []
    for failure in failures:
        group = failure.partition(" ")[0]
        if group in begins and failure.startswith(begins[group]):
            of_groups[group] = failure.removeprefix(begins[group])
        else:
            others.append(failure)
    return of_groups, others


def _facts(known: Any, wrong: str) -> Facts:
    try:
        unknown, exposure = known.keys() - {"exposure", "behind", "cut_off"}, known.get("exposure")
        behind, cut_off = known.get("behind"), known.get("cut_off")
        callers = None if cut_off is None else {rule: _cut_off(said) for rule, said in cut_off.items()}
    except KeyError as error:
        raise NoRunError(f"{wrong}{error} is missing)") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise NoRunError(f"{wrong}{error})") from error
    if unknown:
        raise NoRunError(f"{wrong}{sorted(unknown)} where exposure, behind and cut_off belong)")
    if exposure not in {None, *EXPOSURES}:
        raise NoRunError(f"{wrong}exposure {exposure!r:.80}: write one of {', '.join(EXPOSURES)})")
    return Facts(exposure, None if behind is None else tuple(map(str, behind)), callers)


def _cut_off(said: Mapping[str, Any]) -> CutOff:
    callers = [Caller(str(one["source"]), int(one["bytes"]), str(one["last_seen"])) for one in said["callers"]]
    return CutOff(int(said["count"]), int(said["bytes"]), tuple(callers))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise NoRunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise NoRunError(f"{path}: no JSON that can be read ({error})") from error


def _iso(when: dt.datetime) -> str:
    return when.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
