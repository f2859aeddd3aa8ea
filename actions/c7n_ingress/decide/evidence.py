"""Who came in through rules that would be replaced, and who of them would be cut off, by flow logs.

The queries are in CloudWatch Logs Insights' own language, over the fields that it finds by itself in VPC flow logs of
the default format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html. In them stands nothing that somebody
typed: ids, addresses, ports and protocols alone.

**Came in.** A record of ACCEPT to an address of an interface that has the rule's group, with the rule's protocol, port
and source. The source is `srcAddr`; the default format has no `pkt-srcaddr`.

**Reply.** Security groups let answers in by no rule, and the default format does not say what is one. Where a rule is
open for more than ``WIDE`` ports, what comes from a port below ``EPHEMERAL`` to another one is taken for an answer. Of
fewer ports it is shown: a client that is overlooked is worse than an answer that is shown.

**Cut off.** No rule of any group of the interface lets the source in afterwards, on this protocol and port. A rule for
a group means the addresses of the interfaces that have it; prefix lists are not looked into, so they let nobody in,
which is said. Of ICMP, records have no types: a rule for ICMP keeps somebody in only if it has those of the one that is
replaced.

**Scanners** are told apart by all that a source sent, as far as these queries show it: what was turned away is not
read. The first that fits decides:

1. came to 10 or more doors (interface, protocol and port), with no more than 3 packets in any record, nor in the mean
   of a door's connections: a scanner
2. only TCP, and no more than 2 packets in any record, nor in the mean of a door's connections, which is less than a
   request: a scanner
3. else a client
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import product
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

from c7n_ingress.decide.packed import packed
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import (
    ICMP,
    PROTOCOL_NAMES,
    Match,
    Network,
    Rule,
    Traffic,
    network,
    source_from,
    text_of,
    traffic,
)

Address: TypeAlias = IPv4Address | IPv6Address

LONGEST = 10_000
"""How many characters a query may have ([API] StartQuery, queryString).

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
"""

MOST_ROWS = 10_000
"""How many rows one answer holds: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetQueryResults.html"""

WIDE, EPHEMERAL = 10_000, 32_768
"""Of how many ports a rule lets answers in, too; and from which port on clients wait for them, as Linux has it."""

DOORS, SMALL, HALF_OPEN = 10, 3, 2
"""The numbers of the rule for scanners."""

SHOWN = 3
"""How many clients are named."""

GB, PRICE = 10**9, 0.005
"""What reading costs: dollars a GB in us-east-1, of what a query has read, to its end or until it was stopped.

https://aws.amazon.com/cloudwatch/pricing/
"""

ADDRESSES = {
    "PrivateIpAddresses": "PrivateIpAddress",
    "Ipv6Addresses": "Ipv6Address",
    "Ipv4Prefixes": "Ipv4Prefix",
    "Ipv6Prefixes": "Ipv6Prefix",
}
"""Where an interface's own addresses stand: the list, and the field in it.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html
"""


class Interface(NamedTuple):
    """A network interface."""

    id: str
    groups: frozenset[str]
    addresses: tuple[Network, ...]


class Opening(NamedTuple):
    """An open rule that would be replaced."""

    group: str
    match: Match


class Row(NamedTuple):
    """What came from one source to one door, as a query sums it up. Numbers that a row lacks are None."""

    interface: str
    source: Address
    protocol: str
    port: int
    size: int
    """In bytes."""
    packets: int | None
    most: int | None
    """The most packets in one record."""
    connections: int | None
    last: int | None
    """In seconds since 1970."""


@dataclass
class Seen:
    """What came from a source, in bytes, and when last."""

    size: int = 0
    last: int = 0


@dataclass
class Found:
    """Who came in through a rule."""

    clients: defaultdict[Address, Seen] = field(default_factory=lambda: defaultdict(Seen))
    """Who would be cut off."""
    scanners: set[Address] = field(default_factory=set)
    """Who would be, too, and is no client."""
    stay: set[Address] = field(default_factory=set)
    listed: bool = False
    """Whether a prefix list may let in some of those who would be cut off."""


class Known(NamedTuple):
    """How much of what there is to know is known."""

    logged: frozenset[str]
    """The interfaces of which there are records of the last day, if only that there was no traffic."""
    whole: bool
    """Whether all queries were answered to the end."""


# -- what is asked for


def interface_from(shape: Mapping[str, Any]) -> Interface:
    """Read an interface as ``DescribeNetworkInterfaces`` gives it."""
    groups = frozenset(group["GroupId"] for group in shape.get("Groups") or ())
    texts = [each[name] for listing, name in ADDRESSES.items() for each in shape.get(listing) or () if name in each]
    texts += [shape["PrivateIpAddress"]] if "PrivateIpAddress" in shape else []
    return Interface(shape["NetworkInterfaceId"], groups, tuple(map(network, dict.fromkeys(texts))))


def openings(records: Iterable[Record]) -> list[Opening]:
    """Give the rules that would be replaced, as records foresee it."""
    return [Opening(each["group"], _match(each, "was")) for each in records if each["was"] is not None]


def afterwards(rules: Mapping[str, Iterable[Rule]], records: Iterable[Record]) -> dict[str, set[Match]]:
    """Give the rules of groups as they stand once what records foresee is done.

    :param rules: the ingress rules of each group as they stand now.
    """
    after = {group: {rule.match for rule in some} for group, some in rules.items()}
    records = list(records)
    for record in records:
        if record["was"] is not None:
            after.get(record["group"], set()).discard(_match(record, "was"))
    for record in records:
        if record["now"] is not None:
            after.setdefault(record["group"], set()).add(_match(record, "now"))
    return after


def _match(record: Record, side: str) -> Match:
    return Match(traffic(record["traffic"]), source_from(record[side]))


# -- the queries


STATS = (
    "stats sum(bytes) as size, sum(packets) as sent, max(packets) as most, count_distinct(srcPort) as connections, "
    "max(endTime) as last by interfaceId, srcAddr, protocol, dstPort"
)
BEGINNING, ENDING = 'filter action = "ACCEPT" and (', f") | {STATS} | sort size desc | limit {MOST_ROWS}"
CONDITIONS, INTERFACES = 3_000, 5_500
"""How many characters of a query one clause's conditions may take, and its interfaces: one clause always has room."""


def queries(found: Iterable[Opening], interfaces: Iterable[Interface]) -> list[str]:
    """Give the queries that tell who came in through rules: as few as hold them, for each reads all the logs."""
    found, interfaces = list(found), list(interfaces)
    clauses = [clause for version in (4, 6) for clause in _clauses_of(version, found, interfaces)]
    return [
        f"{BEGINNING}{' or '.join(some)}{ENDING}"
        for some in packed(clauses, LONGEST - len(BEGINNING + ENDING), _length(4))
    ]


def queries_of_logged(interfaces: Iterable[Interface]) -> list[str]:
    """Give the queries that tell of which interfaces there are records at all."""
    beginning, ending = "filter interfaceId in [", f"] | stats count(*) as records by interfaceId | limit {MOST_ROWS}"
    quoted = [f'"{interface.id}"' for interface in interfaces]
    return [
        f"{beginning}{', '.join(ids)}{ending}" for ids in packed(quoted, LONGEST - len(beginning + ending), _length(2))
    ]


def _length(between: int, text: Callable[[Any], str] = str) -> Callable[[Any], int]:
    """Give what says how long an item's text is in a query, with what stands between two."""
    return lambda item: len(text(item)) + between


def _clauses_of(version: int, found: Iterable[Opening], interfaces: Iterable[Interface]) -> Iterator[str]:
    """Give the clauses of one IP version: interfaces that are open to the same stand together."""
    open_in: defaultdict[str, set[Traffic]] = defaultdict(set)
    for group, match in found:
        if isinstance(match.source, str) or match.source.version == version:
            open_in[group].add(match.traffic)
    alike: defaultdict[frozenset[Traffic], list[tuple[str, str]]] = defaultdict(list)
    for interface in interfaces:
        open_to = frozenset(of for group in interface.groups for of in open_in.get(group, ()))
        own = [(f'"{interface.id}"', _is_to(each)) for each in interface.addresses if each.version == version]
        if open_to:
            alike[open_to] += own
    for open_to, own in alike.items():
        for some, few in product(
            packed(_conditions(open_to), CONDITIONS, _length(4)), packed(own, INTERFACES, _length(4, ", ".join))
        ):
            ids = ", ".join(dict.fromkeys(interface for interface, _ in few))
            to = " or ".join(dict.fromkeys(target for _, target in few))
            yield f"(interfaceId in [{ids}] and ({to}) and ({' or '.join(some)}))"


def _is_to(own: Network) -> str:
    """Give the condition that a record is of what came to an address, which Insights compares as text, or a prefix."""
    if own.version == 4:  # noqa: PLR2004 - the IP version
        single = own.prefixlen == own.max_prefixlen
        return f'dstAddr = "{own.network_address}"' if single else f'isIpv4InSubnet(dstAddr, "{own}")'
    return f'isIpv6InSubnet(dstAddr, "{own}")'  # one address can be written in several ways


def _conditions(open_to: Collection[Traffic]) -> list[str]:
    """Give the conditions on protocol and port, of which no record meets two as long as no traffic is all traffic."""
    if any(each.protocol == "-1" for each in open_to):
        return [_no_reply()]
    numbers = {name: number for number, name in PROTOCOL_NAMES.items()}
    texts = []
    for protocol in sorted({each.protocol for each in open_to}):
        number = numbers.get(protocol, protocol)
        if not number.isdecimal():  # EC2 answers with no such name, and a query could not have it
            continue
        spans = _merged(each for each in open_to if each.protocol == protocol)
        if protocol in ("tcp", "udp"):
            texts += [f"({_in_span(number, first, last)})" for first, last in spans]
        else:
            texts.append(f"protocol = {int(number)}")
    return texts


def _in_span(protocol: str, first: int, last: int) -> str:
    if first == last:
        return f"protocol = {protocol} and dstPort = {first}"
    text = f"protocol = {protocol} and dstPort >= {first} and dstPort <= {last}"
    return f"{text} and {_no_reply()}" if last - first >= WIDE else text


def _no_reply() -> str:
    return f"not (srcPort < {EPHEMERAL} and dstPort >= {EPHEMERAL})"


def _merged(some: Iterable[Traffic]) -> list[tuple[int, int]]:
    """Give the ports of traffic as spans that do not touch."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((0, 65535) if each.from_port == -1 else each[1:] for each in some):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


# -- the answers


def row_from(fields: Mapping[str, str]) -> Row | None:
    """Read a row of a query's results; None for one that does not say who came where."""
    try:
        source = ip_address(fields["srcAddr"])
        protocol, port = str(int(float(fields["protocol"]))), int(float(fields.get("dstPort") or 0))
        interface = fields["interfaceId"]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    packets, most, connections, last = (_number(fields.get(name)) for name in ("sent", "most", "connections", "last"))
    return Row(
        interface,
        source,
        PROTOCOL_NAMES.get(protocol, protocol),
        port,
        _number(fields.get("size")) or 0,
        packets,
        most,
        connections,
        last,
    )


def _number(text: Any) -> int | None:
    """Read a count, which may be written as 1.2E7."""
    try:
        number = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if isfinite(number) and number >= 0 else None


def scanners(rows: Iterable[Row]) -> set[Address]:
    """Give the sources that are no clients, by the rule above."""
    by_source: defaultdict[Address, list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    return {source for source, some in by_source.items() if _is_scanner(some)}


def _is_scanner(rows: Sequence[Row]) -> bool:
    doors = {(row.interface, row.protocol, row.port) for row in rows}
    if len(doors) >= DOORS and all(_is_small(row, SMALL) for row in rows):
        return True
    return all(row.protocol == "tcp" and _is_small(row, HALF_OPEN) for row in rows)


def _is_small(row: Row, most: int) -> bool:
    """Tell whether a source sent no more packets; where a row does not say, it may have."""
    if row.most is None or row.packets is None or row.connections is None:
        return False
    return row.most <= most and row.packets <= most * row.connections


def who_came_in(
    found: Iterable[Opening],
    interfaces: Iterable[Interface],
    after: Mapping[str, Collection[Match]],
    rows: Iterable[Row],
) -> dict[Opening, Found]:
    """Tell of each rule who came in through it.

    :param interfaces: those that have the rules' groups, and those that have the groups that other rules name.
    :param after: the rules of all groups of these interfaces as they would be.
    """
    told = {opening: Found() for opening in found}
    by_group: defaultdict[str, list[Opening]] = defaultdict(list)
    for opening in told:
        by_group[opening.group].append(opening)
    known = {interface.id: interface for interface in interfaces}
    members: defaultdict[str, list[Network]] = defaultdict(list)
    for interface in known.values():
        for group in interface.groups:
            members[group] += interface.addresses
    rows = [row for row in rows if row.interface in known and not _is_in(row.source, known[row.interface].addresses)]
    no_clients = scanners(rows)
    for row in rows:
        groups = known[row.interface].groups
        for opening in (each for group in groups for each in by_group[group] if _came_by(row, each.match)):
            of_rule = told[opening]
            rules = [match for group in groups for match in after.get(group, ()) if _is_of(row, match.traffic)]
            if any(_lets_in(match, row, opening, members) for match in rules):
                of_rule.stay.add(row.source)
                continue
            of_rule.listed |= any(str(match.source).startswith("pl-") for match in rules)
            if row.source in no_clients:
                of_rule.scanners.add(row.source)
            else:
                seen = of_rule.clients[row.source]
                seen.size, seen.last = seen.size + row.size, max(seen.last, row.last or 0)
    for of_rule in told.values():
        of_rule.stay -= of_rule.clients.keys() | of_rule.scanners
    return told


def _came_by(row: Row, match: Match) -> bool:
    within = isinstance(match.source, str) or _is_in(row.source, (match.source,))
    return within and _is_of(row, match.traffic)


def _is_of(row: Row, of: Traffic) -> bool:
    if of.protocol == "-1":
        return True
    with_ports = row.protocol in ("tcp", "udp")
    return of.protocol == row.protocol and (
        not with_ports or of.from_port == -1 or of.from_port <= row.port <= of.to_port
    )


def _lets_in(match: Match, row: Row, opening: Opening, members: Mapping[str, Sequence[Network]]) -> bool:
    of = match.traffic
    if of.protocol in ICMP and of.from_port != -1 and of != opening.match.traffic:
        return False
    networks = members.get(match.source, ()) if isinstance(match.source, str) else (match.source,)
    return _is_in(row.source, networks)


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(_holds(each, address) for each in networks)


@lru_cache(maxsize=1 << 16)
def _holds(of: Network, address: Address) -> bool:
    return address in of


# -- for people


def sentences(
    told: Mapping[Opening, Found],
    interfaces: Iterable[Interface],
    known: Known,
) -> dict[str, list[str]]:
    """Say of each group who would be cut off from it, one sentence a rule, the worst first."""
    having = defaultdict(list)
    for interface in interfaces:
        for group in interface.groups:
            having[group].append(interface.id)
    said: defaultdict[str, list[str]] = defaultdict(list)
    for opening, of_rule in sorted(told.items(), key=lambda each: (-len(each[1].clients), -_size(each[1]))):
        ids = having[opening.group]
        said[opening.group].append(f"{_rule_text(opening.match)}: {_sentence(of_rule, ids, known)}")
    return dict(said)


def _rule_text(match: Match) -> str:
    if match.traffic.protocol == "-1":
        return f"all traffic from {match.source}"
    if match.traffic.protocol.isdecimal():
        return f"protocol {match.traffic.protocol} from {match.source}"
    return text_of(match)


def _size(found: Found) -> int:
    return sum(seen.size for seen in found.clients.values())


def _sentence(found: Found, ids: Sequence[str], known: Known) -> str:
    if not ids:
        return "no interface has the group"
    unlogged = len(ids) - len(known.logged.intersection(ids))
    came = bool(found.clients or found.scanners or found.stay)
    if unlogged == len(ids) and not came:
        of = "its interface" if len(ids) == 1 else f"its {len(ids)} interfaces"
        return f"not known: there are no flow log records of {of}" if known.whole else "not known: not all was read"
    parts = [_cut_off(found.clients, whole=known.whole)]
    if found.stay:
        parts.append(f"{len(found.stay)} would stay")
    if found.scanners:
        parts.append(_count(len(found.scanners), "scanner"))
    if unlogged:
        parts.append(f"no records of {unlogged} of {_count(len(ids), 'interface')} in the last day")
    if found.listed and found.clients:
        parts.append("whom its prefix lists let in is not known")
    return "; ".join(parts)


def _cut_off(clients: Mapping[Address, Seen], *, whole: bool) -> str:
    if not clients:
        return "nobody would be cut off" if whole else "nobody was found who would be cut off, but not all was read"
    worst = sorted(clients.items(), key=lambda each: (-each[1].size, each[0].version, each[0]))
    shown = [f"{address} ({size_text(seen.size)}{_last(seen)})" for address, seen in worst[:SHOWN]]
    more = f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    at_least = "" if whole else "at least "
    return f"{at_least}{_count(len(worst), 'client')} would be cut off: {', '.join(shown)}{more}"


def _last(seen: Seen) -> str:
    try:
        return f", last {datetime.fromtimestamp(seen.last, timezone.utc):%Y-%m-%d %H:%M} UTC" if seen.last else ""
    except (OverflowError, OSError, ValueError):  # a number that is no time
        return ""


def size_text(size: int) -> str:
    """Say a size as the rehearsal with files does: 999 bytes, 12.0 MB."""
    if size < 1000:  # noqa: PLR2004 - a kB
        return "1 byte" if size == 1 else f"{size} bytes"
    value, units = size / 1000, iter(("kB", "MB", "GB", "TB", "PB", "EB", "ZB"))
    unit = next(units)
    while value >= 1000 and unit != "ZB":  # noqa: PLR2004 - likewise
        value, unit = value / 1000, next(units)
    return f"{value:,.1f} {unit}"


def read_text(log_groups: Sequence[str], days: int, size: int, troubles: Iterable[str]) -> str:
    """Say how much of which logs was read, what that costs, and what of it was not answered.

    :param size: how many bytes the queries have read.
    :param troubles: why a query was not answered, or not to the end; each as often as it happened.
    """
    cost = size / GB * PRICE
    dollars = f"about ${cost:,.2f}" if cost >= 0.01 else "less than $0.01"  # noqa: PLR2004 - a cent
    of = log_groups[0] if len(log_groups) == 1 else f"{len(log_groups)} log groups"
    counted = Counter(troubles)
    at_least = "at least " if counted else ""
    missing = "".join(f"; {_count(times, 'query', 'queries')} {why}" for why, times in sorted(counted.items()))
    return (
        f"read {at_least}{size_text(size)} of {of}, the last {_count(days, 'day')}, for {dollars}: "
        f"${PRICE} a GB, as in us-east-1{missing}"
    )


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {nouns or f'{noun}s'}"
