"""The rows of the report: one for each open rule, what it becomes, and what is known around it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from c7n_ingress.decide.severity import SEVERITIES, Severity
from c7n_ingress.decide.undo import is_exempt
from mode.report.severity import severity, traffic_text

Record = Mapping[str, Any]
Group = Mapping[str, Any]

STATES = {
    "failed": "failed, may be open",
    "open": "still open",
    "preview": "would be closed",
    "skipped": "skipped, still open",
    "exempt": "exempt, still open",
    "closed": "closed",
}
"""What may have become of an open rule, and how the page words it; the most urgent first."""

EXPOSURES = ("internet", "unknown", "private", "unused")
"""How far what stands behind a group can be reached; the most urgent first."""

HOWS = {"modified": "closed", "revoked": "closed", "preview": "preview"}
EXEMPT = "open-ingress-until"


@dataclass(frozen=True)
class Caller:
    """Somebody who was let in by the open rule and by nothing else: who, how much, and when last."""

    source: str
    bytes: int
    last_seen: str


@dataclass(frozen=True)
class CutOff:
    """All of those who would be cut off by what becomes of a rule."""

    count: int
    """How many sources."""
    bytes: int
    """What they moved, all together."""
    callers: tuple[Caller, ...]
    """Some of them: those who moved the most, first."""


@dataclass(frozen=True)
class Facts:
    """What is known of a group besides its rules. `None` is what nobody has looked for."""

    exposure: str | None = None
    """One of EXPOSURES."""
    behind: tuple[str, ...] | None = None
    """What stands behind it, a short phrase each."""
    cut_off: Mapping[str, CutOff] | None = None
    """Who would be cut off, by the rule in words: `tcp 22 from 0.0.0.0/0`."""


@dataclass(frozen=True)
class Row:
    """An open rule."""

    account: str
    region: str
    vpc: str
    group: str
    name: str
    tags: Mapping[str, str]
    protocol: str
    ports: str
    description: str
    before: str
    after: tuple[str, ...]
    """The sources that have taken its place; none if the rule was removed, or stands as it was."""
    how: tuple[str, ...]
    """What EC2 did, in the words of the records: modified, authorized, revoked, preview."""
    state: str
    """One of STATES."""
    rule: str | None = None
    failure: str | None = None
    until: str | None = None
    """The day on which the group's exemption ends."""
    exposure: str | None = None
    behind: tuple[str, ...] | None = None
    cut_off: CutOff | None = None

    @property
    def traffic(self) -> str:
        """Protocol and ports in words."""
        return traffic_text(self.protocol, self.ports)

    @property
    def severity(self) -> Severity:
        """How bad the rule is."""
        return severity(self.protocol, self.ports)

    @property
    def is_open(self) -> bool:
        """Whether the rule may still stand as it was."""
        return self.state != "closed"


@dataclass(frozen=True)
class Open:
    """An open rule as a filter found it in a group, in the words of the records."""

    group: str
    protocol: str
    ports: str
    source: str
    description: str = ""


@dataclass(frozen=True)
class Report:
    """All that the page says."""

    title: str
    made: str
    """How the rows were come by, in one sentence."""
    time: str
    """ISO 8601, UTC."""
    policies: tuple[str, ...]
    rows: tuple[Row, ...]
    """Worst first."""
    failures: tuple[str, ...] = ()
    """What failed and is not about one group."""
    looked_at: int | None = None
    """How many groups were looked at, if that is known."""
    columns: frozenset[str] = field(init=False)
    """Which of the optional columns have anything in them."""

    def __post_init__(self) -> None:
        """Find out which optional columns are needed."""
        known = {
            name for name in ("behind", "cut_off", "exposure") for row in self.rows if getattr(row, name) is not None
        }
        object.__setattr__(self, "columns", frozenset(known))


def rows(  # noqa: PLR0913 - what a run leaves
    groups: Iterable[Group],
    records: Iterable[Record],
    found: Iterable[Open] = (),
    *,
    account: str,
    region: str,
    failures: Mapping[str, str] | None = None,
    facts: Mapping[str, Facts] | None = None,
    today: str,
) -> list[Row]:
    """Make the rows of one account and region.

    `groups` are those that are reported of, in the shape of DescribeSecurityGroups. `records` are those of
    replace-ingress. `found` is what was open; what of it no record tells of is still open. `failures` says why a group
    failed, by its id; `facts` what else is known of it. `today` is the day (ISO 8601) that tells whether an exemption
    has run out. Raises ValueError for records of another action.
    """
    by_id = {group["GroupId"]: group for group in groups}
    failures, facts = failures or {}, facts or {}
    told = _replaced(records)
    done = {(row.group, row.protocol, row.ports, row.before) for row in told}
    left = [each for each in found if (each.group, each.protocol, each.ports, each.source) not in done]
    all_rows = [_with_group(row, by_id.get(row.group, {})) for row in told]
    for each in left:
        group = {"OwnerId": account} | by_id[each.group]
        all_rows.append(_left(each, group, region, _state(group, account, failures, today)))
    not_closed = {row.group for row in all_rows if row.state == "failed"}
    return [
        replace(
            _with_facts(row, facts),
            failure=failures.get(row.group) if row.state == "failed" or row.group not in not_closed else None,
        )
        for row in all_rows
    ]


def worst_first(unsorted: Iterable[Row]) -> tuple[Row, ...]:
    """Sort: severe before mild, wide before narrow, reachable before not, open before closed; then by name."""
    return tuple(sorted(unsorted, key=_urgency))


def _urgency(row: Row) -> tuple[Any, ...]:
    level, _, width = row.severity
    return (
        SEVERITIES.index(level),
        -width,
        EXPOSURES.index(row.exposure or "unknown"),
        list(STATES).index(row.state),
        row.name,
        row.account,
        row.region,
        row.group,
        row.protocol,
        row.ports,
        row.before,
    )


def _replaced(records: Iterable[Record]) -> list[Row]:
    """Make a row of each rule that was replaced; networks that were added beside it are part of what it became."""
    made: dict[tuple[str, ...], Row] = {}
    first_of: dict[tuple[Any, ...], tuple[str, ...]] = {}
    added: list[Record] = []
    for record in records:
        if record["how"] not in {*HOWS, "authorized"}:
            raise ValueError(f"a record says {record['how']!r:.80}, which is not of replace-ingress")
        if record["was"] is None:
            added.append(record)
            continue
        key = (*_traffic_key(record, record["was"]), record["was"])
        made[key] = _row(record)
        first_of.setdefault(_traffic_key(record, record["was"]), key)
    for record in added:
        key = first_of.get(_traffic_key(record, record["now"]))
        if key is None:  # the run stopped before it came to the open rule
            continue
        row = made[key]
        how = row.how if record["how"] in row.how else (*row.how, record["how"])
        made[key] = replace(row, after=(*row.after, record["now"]), how=how)
    return list(made.values())


def _traffic_key(record: Record, source: str) -> tuple[str, ...]:
    """Say what a group lets in: the same for an open rule and for the networks that are added in its place."""
    version = "IPv6" if ":" in source else "IPv4"
    return record["account"], record["region"], record["group"], record["protocol"], record["ports"], version


def _row(record: Record) -> Row:
    return Row(
        account=record["account"],
        region=record["region"],
        vpc=record["vpc"] or "",
        group=record["group"],
        name=record["group_name"],
        tags={},
        protocol=record["protocol"],
        ports=record["ports"],
        description=record["description"] or "",
        before=record["was"],
        after=() if record["now"] is None else (record["now"],),
        how=(record["how"],),
        state=HOWS[record["how"]],
        rule=record["rule"],
    )


def _with_group(row: Row, group: Group) -> Row:
    return replace(row, tags=_tags(group))


def _left(found: Open, group: Group, region: str, state: str) -> Row:
    """Make the row of a rule that stands as it was."""
    tags = _tags(group)
    return Row(
        account=group.get("OwnerId") or "",
        region=region,
        vpc=group.get("VpcId") or "",
        group=found.group,
        name=group.get("GroupName") or "",
        tags=tags,
        protocol=found.protocol,
        ports=found.ports,
        description=found.description,
        before=found.source,
        after=(),
        how=(),
        state=state,
        until=tags[EXEMPT] if state == "exempt" else None,
    )


def _state(group: Group, account: str, failures: Mapping[str, str], today: str) -> str:
    """Say why a group's open rules stand as they were."""
    if (group.get("OwnerId") or account) != account:
        return "skipped"
    if group["GroupId"] in failures:
        return "failed"
    return "exempt" if is_exempt(_tags(group).get(EXEMPT, ""), date.fromisoformat(today)) else "open"


def _with_facts(row: Row, facts: Mapping[str, Facts]) -> Row:
    known = facts.get(row.group)
    if known is None:
        return row
    cut_off = None if known.cut_off is None else known.cut_off.get(f"{row.traffic} from {row.before}")
    return replace(row, exposure=known.exposure, behind=known.behind, cut_off=cut_off)


def _tags(group: Group) -> dict[str, str]:
    """Give a group's tags, as people typed them; those that AWS and this pack make are of no interest to a reader."""
    tags: Sequence[Mapping[str, str]] = group.get("Tags") or ()
    return {tag["Key"]: tag["Value"] for tag in tags if not tag["Key"].startswith("c7n-ingress:")}
