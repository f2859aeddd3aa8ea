"""Who came in through rules that would be replaced, and who of them would be cut off, by what flow logs sum up to.

**Came in.** A record of ACCEPT to an address of an interface that has the rule's group, with the rule's protocol, port
and source. The source is `srcAddr`; the default format has no `pkt-srcaddr`.

**Cut off.** No rule of any group of the interface lets the source in afterwards, on this protocol and port. A rule for
a group means the addresses of the interfaces that have it; prefix lists are not looked into, so they let nobody in,
which is said. Of ICMP, records have no types: a rule for ICMP keeps somebody in only if it has those of the one that is
replaced.

**Scanners** are told apart by all that a source sent, as far as the queries (``insights``) show it: what was turned
away is not read. The first that fits decides:

1. came to 10 or more doors (interface, protocol and port), with no more than 3 packets in any record, nor in the mean
   of a door's connections: a scanner
2. only TCP, and no more than 2 packets in any record, nor in the mean of a door's connections, which is less than a
   request: a scanner
3. else a client
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple, TypeAlias

from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import ICMP, Match, Network, Rule, Traffic, network, source_from, traffic

Address: TypeAlias = IPv4Address | IPv6Address

DOORS, SMALL, HALF_OPEN = 10, 3, 2
"""The numbers of the rule for scanners."""

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


# -- what is asked about


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


# -- what came of it


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
