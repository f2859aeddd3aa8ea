"""Where the rows come from: what `custodian run` and c7n-org leave in their output folders, and the rehearsal."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from c7n_ingress.authorized import WIDEST_PREFIX
from c7n_ingress.rules import ports_text, traffic
from mode.report.rows import EXPOSURES, Caller, Facts, Group, Open, Record, Report, Row, rows, worst_first

RESOURCES, METADATA, LOG = "resources.json", "metadata.json", "custodian-run.log"
MATCHED = "MatchedIpPermissions"
"""Where Cloud Custodian's filters note the permissions that they matched, each with one source."""

LINE = re.compile(r"[\d-]+ [\d:,]+ - (?P<logger>\S+) - (?P<level>[A-Z]+) - (?P<message>.*)")
"""How c7n writes a line of its log: `LogOutput.log_format` in c7n/output.py."""
FAILURE = re.compile(r"replace-ingress: (?:(?P<group>sg-[0-9a-f]+): )?(?P<why>.*)")
PRIVATE = ip_network("fc00::/7")
SOURCES = {"IpRanges": "CidrIp", "Ipv6Ranges": "CidrIpv6", "PrefixListIds": "PrefixListId"}


class NoRunError(ValueError):
    """A folder is not what a run leaves: one line that names it and says which command makes one."""


class Run(NamedTuple):
    """What one run of a policy in one account and region left."""

    policy: str
    account: str
    region: str
    time: str
    groups: list[Group]
    records: list[Record]
    failures: dict[str, str]
    more_failures: list[str]
    changed_nothing: bool


def of_runs(folders: Sequence[Path], facts: Mapping[str, Facts], now: dt.datetime) -> Report:
    """Report of the runs whose output lies in the folders or anywhere below them.

    So `out` will do, as will c7n-org's folder of many accounts. Raises NoRunError if there is none, or if what is there
    cannot be read.
    """
    runs = [read_run(path.parent) for folder in folders for path in _below(folder)]
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
) -> Report:
    """Report of a rehearsal: what its function did to a copy of one's own groups.

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
        made="Rehearsed on a copy of the security groups, on one machine: nothing was changed in AWS.",
        time=_iso(now),
        policies=("open-ingress",),
        rows=worst_first(made),
        failures=tuple(others),
        looked_at=len(groups),
    )


def read_run(folder: Path) -> Run:
    """Read what a run of `custodian run` left in the policy's folder.

    c7n writes resources.json when the filters are done, and metadata.json at the end. It goes on in the log of earlier
    runs, so that only what the log has since this run's start counts. Raises NoRunError.
    """
    metadata = _json(folder / METADATA)
    try:
        policy, config, execution = metadata["policy"], metadata["config"], metadata["execution"]
        name, account, region = policy["name"], config["account_id"] or "", config["region"] or ""
        start = dt.datetime.fromtimestamp(execution["start"], dt.timezone.utc)
        end = dt.datetime.fromtimestamp(execution["end_time"], dt.timezone.utc)
    except (KeyError, TypeError) as error:
        raise NoRunError(f"{folder / METADATA}: not what Cloud Custodian writes ({error!r})") from error
    groups = _json(folder / RESOURCES) if (folder / RESOURCES).exists() else []
    records, failures, more = _from_log(folder / LOG, start)
    return Run(
        policy=name,
        account=account,
        region=region,
        time=_iso(end),
        groups=groups,
        records=records,
        failures=failures,
        more_failures=more,
        changed_nothing=bool(config.get("dryrun")),
    )


def facts_from(path: Path | None) -> dict[str, Facts]:
    """Read what else is known of groups, by their ids: `exposure`, `behind` and `cut_off`, each of them optional.

        {"sg-0123": {"exposure": "internet", "behind": ["load balancer shop"],
                     "cut_off": {"tcp 443": [{"source": "198.51.100.7", "bytes": 8041, "last_seen": "2026-05-04"}]}}}

    Raises NoRunError, which names the value, for anything else.
    """
    if path is None:
        return {}
    try:
        return {group: _facts(known) for group, known in _json(path).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoRunError(f"{path}: not what is known of groups ({error})") from error


def _below(folder: Path) -> list[Path]:
    """Find the runs below a folder."""
    found = sorted(path for path in folder.rglob(METADATA) if (path.parent / LOG).exists())
    if not found:
        raise NoRunError(
            f"{folder}: no run of Cloud Custodian is there. This makes one: "
            "custodian run --region us-east-1 -s out policies/open-ingress-sweep.yml"
        )
    return found


def _rows_of(run: Run, facts: Mapping[str, Facts], now: dt.datetime) -> list[Row]:
    known = {group["GroupId"] for group in run.groups}
    try:
        return rows(
            run.groups,
            run.records,
            [each for group in run.groups for each in _matched(group)],
            account=run.account,
            region=run.region,
            failures={group: why for group, why in run.failures.items() if group in known},
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


def _from_log(log: Path, start: dt.datetime) -> tuple[list[Record], dict[str, str], list[str]]:
    """Read the records of a run, why each group failed, and what else went wrong."""
    records: list[Record] = []
    failures: dict[str, str] = {}
    others: list[str] = []
    first = start.strftime("%Y-%m-%dT%H:%M:%SZ")
    for message, level in _messages(log, start):
        if level == "INFO" and message.startswith("{"):
            record = _record(message)
            if record and record["time"] >= first:
                records.append(record)
        elif level == "ERROR" and (said := FAILURE.fullmatch(message)):
            if group := said["group"]:
                failures[group] = said["why"]
            elif not said["why"].endswith(" failed"):  # what comes with a trace is told again in one line
                others.append(said["why"])
    return records, failures, others


def _messages(log: Path, start: dt.datetime) -> Iterator[tuple[str, str]]:
    """Yield the messages of a log since a run's start, and their levels; c7n writes local time, to the millisecond."""
    first = start.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if (said := LINE.match(line)) and line[:19] >= first:
                yield said["message"], said["level"]


def _record(message: str) -> Record | None:
    """Read a record; None for other JSON that somebody logs."""
    try:
        record = json.loads(message)
    except json.JSONDecodeError:
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
    network = ip_network(cidr)
    return network.prefixlen < WIDEST_PREFIX[network.version] and not (
        network.version == PRIVATE.version and network.subnet_of(PRIVATE)
    )


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


def _facts(known: Mapping[str, Any]) -> Facts:
    if known.keys() - {"exposure", "behind", "cut_off"}:
        raise ValueError(f"{sorted(known)} where exposure, behind and cut_off belong")
    exposure, behind, cut_off = known.get("exposure"), known.get("behind"), known.get("cut_off")
    if exposure not in {None, *EXPOSURES}:
        raise ValueError(f"exposure {exposure!r:.80}: write one of {', '.join(EXPOSURES)}")
    callers = (
        None
        if cut_off is None
        else {
            of: tuple(Caller(str(one["source"]), int(one["bytes"]), str(one["last_seen"])) for one in those)
            for of, those in cut_off.items()
        }
    )
    return Facts(exposure, None if behind is None else tuple(map(str, behind)), callers)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise NoRunError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise NoRunError(f"{path}: no JSON that can be read ({error})") from error


def _iso(when: dt.datetime) -> str:
    return when.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
