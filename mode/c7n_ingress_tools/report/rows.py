"""The rows of the report: one for each open rule, what it becomes, and what is known about it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, NamedTuple

from c7n_ingress.decide import states
from c7n_ingress.decide.behind import EXPOSURES
from c7n_ingress.decide.exemptions import Entry, Exemption, Register, exemption
from c7n_ingress.decide.message import lack, lack_in
from c7n_ingress.decide.ports import traffic_words
from c7n_ingress.decide.rules import MAYBE_OPEN, Traffic, ports_text, source_from, traffic
from c7n_ingress.decide.severity import SEVERITIES, Severity, severity
from c7n_ingress.decide.states import counted

Record = Mapping[str, Any]
Group = Mapping[str, Any]

URGENCY = tuple(state.name for state in states.URGENCY)
"""What may have become of an open rule, by name; the most urgent first."""

NOT_CLOSED, CLOSED_BUT, WOULD_BE_CLOSED, CLOSED = (state.name for state in states.CLOSING)
SKIPPED, EXEMPT = states.SKIPPED.name, states.EXEMPT.name

HOWS = {
    "modified": CLOSED,
    "revoked": CLOSED,
    "preview": WOULD_BE_CLOSED,
    "perhaps modified": NOT_CLOSED,  # EC2's answer was lost
    "perhaps revoked": NOT_CLOSED,
}
ADDED = ("authorized", "perhaps authorized", "preview")


class Caller(NamedTuple):
    """A client that only the open rule let in: its address, how much it sent, and when last."""

    source: str
    bytes: int
    last_seen: str


@dataclass(frozen=True)
class Clients:
    """The clients that came in through a rule, as flow logs show them."""

    blocked: int
    """How many are blocked when the rule is replaced."""
    bytes: int = 0
    """What those sent, all together."""
    last: str = ""
    """When one of them sent something last: `2026-05-04 10:02:09`, UTC."""
    callers: tuple[Caller, ...] = ()
    """Some of those, the ones that sent the most first."""
    stay: int = 0
    """How many can still come in."""
    scanners: int = 0
    """How many scanners are blocked. They do not count as clients."""
    suggested: tuple[str, ...] = ()
    """The networks that would let the blocked clients in."""
    more: int = 0
    """How many other addresses are in those networks."""
    note: str = ""
    """Why no network is suggested or, where no client is blocked, what the flow logs do not show."""

    @property
    def words(self) -> str:
        """How many clients are blocked, in words."""
        return counted(self.blocked, "client") if self.blocked else self.note or "nobody"


class RuleKey(NamedTuple):
    """What distinguishes a rule from all others of a region."""

    group: str
    traffic: Traffic
    source: str


@dataclass(frozen=True)
class Row:
    """An open rule."""

    account: str
    region: str
    vpc: str
    group: str
    name: str
    tags: Mapping[str, str]
    traffic: Traffic
    description: str
    before: str
    state: str
    """One of URGENCY."""
    after: tuple[str, ...] = ()
    """The sources that replace it; none if the rule was removed, or is as it was."""
    how: tuple[str, ...] = ()
    """What EC2 did, in the words of the records: modified, authorized, revoked, preview."""
    others: tuple[str, ...] = ()
    """The sources that other rules of the group let in for the same ports, where the rule was removed."""
    rule: str | None = None
    failure: str | None = None
    exemption: Exemption | None = None
    exposure: str | None = None
    """One of EXPOSURES; None where nobody looked."""
    behind: tuple[str, ...] | None = None
    """What uses the group, a short phrase each."""
    clients: Clients | None = None

    @property
    def key(self) -> RuleKey:
        """What distinguishes the rule from all others of its region."""
        return RuleKey(self.group, self.traffic, self.before)

    @property
    def lets_in(self) -> str:
        """Protocol and ports in words."""
        return traffic_words(self.traffic.protocol, ports_text(self.traffic))

    @property
    def severity(self) -> Severity:
        """How bad the rule is."""
        return severity(self.traffic)

    @property
    def is_open(self) -> bool:
        """Whether the rule may be as it was."""
        return self.state not in (CLOSED, CLOSED_BUT)

    @property
    def was_removed(self) -> bool:
        """Whether no network replaces the rule, or would replace it."""
        return not self.after and self.state in (CLOSED, WOULD_BE_CLOSED)

    @property
    def becomes(self) -> str:
        """What the rule becomes, in words, where no network replaces it."""
        if "preview" in self.how:
            return "would be removed"
        return "as before" if self.is_open else "removed"


class Window(NamedTuple):
    """What flow logs were read: how many records, from when to when (`2026-05-04 10:02:09`, UTC), if they say so."""

    records: int
    first: str | None
    last: str | None

    def __str__(self) -> str:
        """Return it in words."""
        if not (self.first and self.last):
            return counted(self.records, "flow log record")
        last = self.last[11:16] if self.last[:10] == self.first[:10] else self.last[:16]
        return f"{counted(self.records, 'flow log record')}, {self.first[:16]} to {last} UTC"


class Place(NamedTuple):
    """An account and region, and what became of its groups."""

    name: str
    """The account's, where c7n-org knows one."""
    account: str
    region: str
    time: str
    """When it was last looked at; empty if it was not."""
    groups: Counter[str]
    """How many groups are in each state. Of a group whose rules are in several states, the most urgent one counts."""
    failure: str | None
    """Why the last run failed."""

    def __str__(self) -> str:
        """Return its names."""
        return " ".join(dict.fromkeys(filter(None, (self.name, self.account, self.region)))) or "unknown account"

    @property
    def found(self) -> int:
        """How many groups let the internet in before, those that are exempt not counted."""
        return sum(self.groups.values()) - self.groups[EXEMPT]

    @property
    def urgency(self) -> tuple[Any, ...]:
        """Its place in the table: what failed comes first, then what is open."""
        return (self.failure is None, *(-self.groups[state] for state in URGENCY), str(self))


def states_of(made: Iterable[Row]) -> Counter[str]:
    """Count groups by state."""
    by_urgency = sorted(made, key=lambda row: URGENCY.index(row.state), reverse=True)
    return Counter({row.group: row.state for row in by_urgency}.values())


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
    window: Window | None = None
    """The flow logs, if there were any."""
    notes: tuple[str, ...] = ()
    """What people should know to read it, a sentence each."""
    runs: tuple[str, ...] = ()
    """The runs that the report covers, in one line each, the oldest first."""
    places: tuple[Place, ...] = ()
    """The accounts and regions that were swept: those that failed first."""

    def knows(self, name: str) -> bool:
        """Whether any row has this optional field: `exposure`, `behind`, `clients`."""
        return any(getattr(row, name) is not None for row in self.rows)

    @property
    def groups(self) -> int:
        """How many groups have an open rule."""
        return len({(row.account, row.region, row.group) for row in self.rows})

    @property
    def states(self) -> list[str]:
        """The states whose groups are counted for each account and region: the usual ones, and others that occur."""
        usual = (CLOSED, CLOSED_BUT, NOT_CLOSED, EXEMPT)
        return [state for state in URGENCY if state in usual or any(place.groups[state] for place in self.places)]

    @property
    def failed(self) -> tuple[Place, ...]:
        """The accounts and regions whose last run failed."""
        return tuple(place for place in self.places if place.failure is not None)

    @property
    def headline(self) -> str:
        """What matters most, in a few words."""
        if self.failed and len(self.places) > 1:
            return f"{len(self.failed):,} of {len(self.places):,} accounts and regions failed"
        if not self.rows:
            return "Not everything could be looked at" if self.failures else "No open rule was found"
        if known := [row.clients for row in self.rows if row.clients]:
            if blocking := sum(each.blocked > 0 for each in known):
                return f"{blocking:,} of {counted(len(known), 'rule')} would block clients"
            unlogged = ", as far as the flow logs show" if any(each.note for each in known) else ""
            return f"No client would be blocked{unlogged}"
        number = Counter(row.state for row in self.rows)
        worst = next(state for state in (*states.CLOSING, states.SKIPPED, states.EXEMPT) if number[state.name])
        return f"{number[worst.name]:,} of {counted(len(self.rows), 'open rule')} {worst.counted}"

    @property
    def lead(self) -> str:
        """What became of the open rules, in one sentence."""
        if not self.rows:
            looked = "" if self.looked_at is None else f" in {counted(self.looked_at, 'security group')}"
            exempt = sum(place.groups[EXEMPT] for place in self.places)
            but = f" but those of {counted(exempt, 'exempt group')}" if exempt else ""
            return "See what failed." if self.failures or self.failed else f"No rule{looked} lets the internet in{but}."
        number = Counter(row.state for row in self.rows)
        outcome = ", ".join(f"{n:,} {state.counted}" for state in states.URGENCY if (n := number[state.name]))
        rules = f"{counted(len(self.rows), 'rule')} in {counted(self.groups, 'group')}"
        return f"{rules} {'lets' if len(self.rows) == 1 else 'let'} the internet in before: {outcome}."


def rows(  # noqa: PLR0913 - what a run leaves
    groups: Iterable[Group],
    records: Iterable[Record],
    permissions_of: Callable[[Group], Iterable[Mapping[str, Any]]],
    *,
    account: str,
    region: str,
    failures: Mapping[str, Sequence[str]] | None = None,
    known: Callable[[Row], Mapping[str, Any]] = lambda _: {},
    exemptions: Iterable[Entry] = (),
    today: date,
) -> list[Row]:
    """Return the rows of one account and region.

    :param groups: those that the report is about, as DescribeSecurityGroups returns them.
    :param records: those of replace-ingress.
    :param permissions_of: returns what was open in a group. What has no record is as it was.
    :param failures: what the action says went wrong with a group, by the group's id.
    :param known: returns what else is known of a rule, by the row's fields: `exposure`, `behind`, `clients`.
    :param exemptions: the register.
    :param today: the day, in UTC, by which an exemption counts.
    :raises ValueError: a record is of another action.
    """
    by_id = {group["GroupId"]: group for group in groups}
    failures, records = failures or {}, list(records)
    found = [row for group in by_id.values() for row in rules_of(group, permissions_of(group), account, region)]
    made = list(_with_others(_replaced(records, by_id), by_id, found, records))
    done = {row.key for row in made}
    register = Register(exemptions, account, region, today)
    for row in found:
        if row.key in done:
            continue
        group = by_id[row.group]
        why = exemption(group, register.of_group(group), row.traffic, today) if row.state == NOT_CLOSED else None
        made.append(replace(row, state=EXEMPT, exemption=why) if why else row)
    not_closed = {row.group for row in made if row.state == NOT_CLOSED}
    return [
        _with_failure(replace(row, **known(row)), failures.get(row.group, ()), shown=row.group not in not_closed)
        for row in made
    ]


def rules_of(group: Group, permissions: Iterable[Mapping[str, Any]], account: str, region: str) -> Iterator[Row]:
    """Yield a row for each rule of some permissions of a group, as if nothing had happened to it."""
    owner = group.get("OwnerId") or account
    for permission in permissions:
        for listing, key in MAYBE_OPEN.items():
            for each in permission.get(listing) or ():
                yield Row(
                    account=owner,
                    region=region,
                    vpc=group.get("VpcId") or "",
                    group=group["GroupId"],
                    name=group.get("GroupName") or "",
                    tags=_tags(group),
                    traffic=traffic(permission),
                    description=each.get("Description") or "",
                    before=str(source_from(each[key])),
                    state=NOT_CLOSED if owner == account else SKIPPED,
                )


def _with_failure(row: Row, said: Sequence[str], *, shown: bool) -> Row:
    """Note beside a rule what went wrong with it.

    :param shown: whether to note what is wrong with the group beside a closed rule, too.
    """
    lacking = [text for text in map(lack_in, said) if text and text.endswith(lack("", row.traffic))]
    if row.state == CLOSED and lacking:
        return replace(row, state=CLOSED_BUT, failure="; ".join(lacking))
    wrong = [text for text in said if not lack_in(text)]
    return replace(row, failure="; ".join(wrong)) if wrong and (shown or row.state == NOT_CLOSED) else row


def worst_first(unsorted: Iterable[Row]) -> tuple[Row, ...]:
    """Sort: severe before mild, wide before narrow, reachable before not, open before closed; then by name."""
    return tuple(sorted(unsorted, key=_urgency))


def _urgency(row: Row) -> tuple[Any, ...]:
    level, _, width = row.severity
    exposure, state = EXPOSURES.index(row.exposure or "unknown"), URGENCY.index(row.state)
    where = row.name, row.account, row.region, row.group, row.traffic, row.before
    return (SEVERITIES.index(level), -width, exposure, state, *where)


def _replaced(records: Iterable[Record], groups: Mapping[str, Group]) -> Iterator[Row]:
    """Yield a row for each rule that was replaced. Networks that were added beside it are part of what it became."""
    changed: dict[RuleKey, Record] = {}
    added: defaultdict[tuple[str, Traffic, bool], list[Record]] = defaultdict(list)
    for record in records:
        if record["how"] not in {*HOWS, *ADDED}:
            raise ValueError(f"a record says {record['how']!r:.80}, which is not of replace-ingress")
        group, of = record["group"], traffic(record["traffic"])
        if record["was"] is None:
            added[group, of, ":" in record["now"]].append(record)
        else:
            changed[RuleKey(group, of, record["was"])] = record
    for key, record in changed.items():
        became = [record, *added.pop((key.group, key.traffic, ":" in key.source), ())]  # the first open rule
        yield Row(
            account=record["account"],
            region=record["region"],
            vpc=record["vpc"] or "",
            group=record["group"],
            name=record["group_name"],
            tags=_tags(groups.get(record["group"], {})),
            traffic=key.traffic,
            description=record["description"] or "",
            before=record["was"],
            after=tuple(each["now"] for each in became if each["now"] is not None),
            how=tuple(dict.fromkeys(each["how"] for each in became)),
            state=HOWS[record["how"]],
            rule=record["rule"],
        )


def _with_others(
    made: Iterable[Row], groups: Mapping[str, Group], found: Iterable[Row], records: Iterable[Record]
) -> Iterator[Row]:
    """Yield the rows: where a rule was removed, with what the group's other rules let in for the same ports."""
    made = list(made)
    let_in: defaultdict[tuple[str, Traffic], dict[str, None]] = defaultdict(dict)
    for group_id in {row.group for row in made if row.was_removed} & groups.keys():
        group = groups[group_id]
        for row in rules_of(group, group.get("IpPermissions") or (), "", ""):
            if not row.before.startswith("pl-"):  # what a prefix list holds is not known here
                let_in[row.key[:2]][row.before] = None
    for record in records:
        if record["now"]:
            let_in[record["group"], traffic(record["traffic"])][record["now"]] = None
    for row in (*found, *made):
        let_in[row.key[:2]].pop(row.before, None)
    for row in made:
        others = (each for each in let_in[row.key[:2]] if (":" in each) == (":" in row.before))
        yield replace(row, others=tuple(others)) if row.was_removed else row


def _tags(group: Group) -> dict[str, str]:
    """Return the tags that people gave a group, without those that this pack made."""
    tags: Sequence[Mapping[str, str]] = group.get("Tags") or ()
    return {tag["Key"]: tag["Value"] for tag in tags if not tag["Key"].startswith("c7n-ingress:")}
