"""The rows of the report: one for each open rule, what it becomes, and what is known around it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from c7n_ingress.decide import exemptions, states
from c7n_ingress.decide.rules import ports_text, traffic
from c7n_ingress.decide.severity import SEVERITIES, Severity
from c7n_ingress_tools.report.severity import severity, traffic_text

Record = Mapping[str, Any]
Group = Mapping[str, Any]

URGENCY = tuple(state.name for state in states.URGENCY)
"""What may have become of an open rule, by name; the most urgent first."""

NOT_CLOSED, CLOSED_BUT, WOULD_BE_CLOSED, CLOSED = (state.name for state in states.CLOSING)
SKIPPED, EXEMPT = states.SKIPPED.name, states.EXEMPT.name

LACKS = CLOSED_BUT.removesuffix("…")
"""How the action's sentence begins about a network that it could not add."""

EXPOSURES = ("internet", "unknown", "private", "unused")
"""From where a group can be reached; the most urgent first."""

HOWS = {
    "modified": CLOSED,
    "revoked": CLOSED,
    "preview": WOULD_BE_CLOSED,
    "perhaps modified": NOT_CLOSED,  # EC2's answer was lost
    "perhaps revoked": NOT_CLOSED,
}
ADDED = ("authorized", "perhaps authorized", "preview")


@dataclass(frozen=True)
class Caller:
    """A client that only the open rule let in: its address, how much it sent, and when last."""

    source: str
    bytes: int
    last_seen: str


@dataclass(frozen=True)
class CutOff:
    """All clients that would be blocked when a rule is replaced."""

    count: int
    """How many sources."""
    bytes: int
    """What they sent, all together."""
    callers: tuple[Caller, ...]
    """Some of them, those that sent the most first."""


@dataclass(frozen=True)
class Facts:
    """What is known of a group besides its rules. `None` means that nobody looked."""

    exposure: str | None = None
    """One of EXPOSURES."""
    behind: tuple[str, ...] | None = None
    """What uses it, a short phrase each."""
    cut_off: Mapping[str, CutOff] | None = None
    """The clients that would be blocked, by the rule in words: `tcp 22 from 0.0.0.0/0`."""


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
    """The sources that replace it; none if the rule was removed, or is as it was."""
    how: tuple[str, ...]
    """What EC2 did, in the words of the records: modified, authorized, revoked, preview."""
    state: str
    """One of URGENCY."""
    others: tuple[str, ...] = ()
    """The sources that other rules of the group let in for the same ports, where the rule was removed."""
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
        """Whether the rule may be as it was."""
        return self.state not in (CLOSED, CLOSED_BUT)


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
    """Where the rows are from, in one sentence."""
    time: str
    """ISO 8601, UTC."""
    policies: tuple[str, ...]
    rows: tuple[Row, ...]
    """Worst first."""
    failures: tuple[str, ...] = ()
    """What failed and is not about one group."""
    looked_at: int | None = None
    """How many groups were looked at, if that is known."""
    unlisted: str = ""
    """What may be open and has no row, in a few words."""
    runs: tuple[str, ...] = ()
    """The runs that the report covers, in one line each."""
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
    failures: Mapping[str, Sequence[str]] | None = None,
    facts: Mapping[str, Facts] | None = None,
    today: str,
) -> list[Row]:
    """Return the rows of one account and region.

    :param groups: those that the report is about, as DescribeSecurityGroups returns them.
    :param records: those of replace-ingress.
    :param found: the rules that were open. What has no record is as it was.
    :param failures: what the action says went wrong with a group, by the group's id.
    :param facts: what else is known of a group, by its id.
    :param today: the day (ISO 8601) by which an exemption counts.
    :raises ValueError: a record is of another action.
    """
    by_id = {group["GroupId"]: group for group in groups}
    failures, facts, found, records = failures or {}, facts or {}, list(found), list(records)
    made = [_with_group(row, by_id.get(row.group, {}), found, records) for row in _replaced(records)]
    done = {(row.group, row.protocol, row.ports, row.before) for row in made}
    for each in found:
        if (each.group, each.protocol, each.ports, each.source) not in done:
            group = {"OwnerId": account} | by_id[each.group]
            made.append(_left(each, group, region, _state(group, account, today)))
    not_closed = {row.group for row in made if row.state == NOT_CLOSED}
    return [
        _with_failure(_with_facts(row, facts), failures.get(row.group, ()), shown=row.group not in not_closed)
        for row in made
    ]


def _with_failure(row: Row, said: Sequence[str], *, shown: bool) -> Row:
    """Note beside a rule what went wrong with it.

    :param shown: whether to note what is wrong with the group beside a closed rule, too.
    """
    lacking = [text for text in said if LACKS in text and f" for {row.protocol} {row.ports}. " in f"{text} "]
    if row.state == CLOSED and lacking:
        return replace(row, state=CLOSED_BUT, failure="; ".join(text.partition(". ")[0] for text in lacking))
    wrong = [text for text in said if LACKS not in text]
    return replace(row, failure="; ".join(wrong)) if wrong and (shown or row.state == NOT_CLOSED) else row


def worst_first(unsorted: Iterable[Row]) -> tuple[Row, ...]:
    """Sort: severe before mild, wide before narrow, reachable before not, open before closed; then by name."""
    return tuple(sorted(unsorted, key=_urgency))


def _urgency(row: Row) -> tuple[Any, ...]:
    level, _, width = row.severity
    return (
        SEVERITIES.index(level),
        -width,
        EXPOSURES.index(row.exposure or "unknown"),
        URGENCY.index(row.state),
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
        if record["how"] not in {*HOWS, *ADDED}:
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
    """Return what a group lets in: the same for an open rule and for the networks that replace it."""
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


def _with_group(row: Row, group: Group, found: Sequence[Open], records: Sequence[Record]) -> Row:
    """Add to a row the group's tags and, for a removed rule, what other rules let in."""
    row = replace(row, tags=_tags(group))
    if row.after or row.state not in (CLOSED, WOULD_BE_CLOSED):
        return row
    was_open = {each.source for each in found if (each.group, each.protocol, each.ports) == _ports_of(row)}
    added = [
        record["now"]
        for record in records
        if record["now"] and (record["group"], record["protocol"], record["ports"]) == _ports_of(row)
    ]
    others = [each for each in [*_sources(row, group), *added] if each not in {row.before, *was_open}]
    return replace(row, others=tuple(dict.fromkeys(each for each in others if (":" in each) == (":" in row.before))))


def _ports_of(row: Row) -> tuple[str, str, str]:
    return row.group, row.protocol, row.ports


def _sources(row: Row, group: Group) -> list[str]:
    """Return the networks that a group lets in for exactly a row's ports."""
    return [
        source[key]
        for permission in group.get("IpPermissions") or ()
        if (traffic(permission).protocol, ports_text(traffic(permission))) == (row.protocol, row.ports)
        for ranges, key in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"))
        for source in permission.get(ranges) or ()
    ]


def _left(found: Open, group: Group, region: str, state: str) -> Row:
    """Return the row of a rule that is as it was."""
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
        until=tags[exemptions.TAG] if state == EXEMPT else None,
    )


def _state(group: Group, account: str, today: str) -> str:
    """Return why a group's open rules are as they were."""
    if (group.get("OwnerId") or account) != account:
        return SKIPPED
    return (
        EXEMPT if exemptions.is_exempt(_tags(group).get(exemptions.TAG, ""), date.fromisoformat(today)) else NOT_CLOSED
    )


def _with_facts(row: Row, facts: Mapping[str, Facts]) -> Row:
    known = facts.get(row.group)
    if known is None:
        return row
    cut_off = None if known.cut_off is None else known.cut_off.get(f"{row.traffic} from {row.before}")
    return replace(row, exposure=known.exposure, behind=known.behind, cut_off=cut_off)


def _tags(group: Group) -> dict[str, str]:
    """Return the tags that people gave a group, without those that this pack made."""
    tags: Sequence[Mapping[str, str]] = group.get("Tags") or ()
    return {tag["Key"]: tag["Value"] for tag in tags if not tag["Key"].startswith("c7n-ingress:")}
