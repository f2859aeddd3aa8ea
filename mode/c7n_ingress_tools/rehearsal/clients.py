"""Which clients connected through the rules that were replaced, and which of them the change would block.

What counts, and from where it is known (VPC guide: https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html
and flow-logs-records-examples.html, flow-logs-limitations.html there):

**Came in.** A record of ACCEPT about an interface that has the rule's group, into it (`flow-direction`, or else its
destination is an address of the interface), with the rule's protocol, port and source, that is no reply. The source is
`pkt-srcaddr` where the format has it: the packet's own, as a security group sees it. A record that is twice in the
files, alike in all that is read except the flags, counts once: two flow logs, or two exports that overlap, have the
same traffic.

**Reply.** Security groups let answers in by no rule, and flow logs do not say what is one. All records of a connection
(interface, protocol, both ports, the other side's address) are judged together. `tcp-flags` decides where there is a
SYN: with ACK it is a reply, without it is none. Elsewhere all of these must hold, as a client that is overlooked is
worse than a reply that is shown: the interface sent in this connection; what it sent began no later than what came in;
the other side's port is the lower one, as a service's is; and it is used with more of the interface's ports than the
interface's port does against others, as a service is one port against many. Against as many, only the interface's port
may be one from which clients come (from 32768 on): so a client that comes from a low port, as of NFS or through NAT, to
2049, to 31234 or to 50051 is none. Without ports (ICMP and others): what it sent began earlier.

**Blocked.** No rule of any group of the interface lets the source in afterwards, on this protocol and port. A rule for
a group means the addresses of the interfaces that have it. Only --live reads prefix lists; others let nobody in.
Of ICMP, records have no types: a rule for ICMP keeps somebody in only if it has the types of the one that was replaced.

**Scanners** are recognized by what a source did to all interfaces of the file; the first that fits decides:

1. a connection that was let in, with more than 100 packets from it: a client
2. turned away at 5 or more doors (interface, protocol and port): a scanner
3. knocked at 10 or more doors, and sent no more than 3 packets in any connection that was let in: a scanner
4. only TCP, and no more than 2 packets in any connection that was let in, which is less than a request: a scanner
5. else a client
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c7n_ingress.decide.rules import ALL, PROTOCOL_NAMES, Network, Traffic, matches_from, ports_text, traffic
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.rehearsal.account import ONE_PLACE
from c7n_ingress_tools.rehearsal.covering import Address, Covering, covering
from c7n_ingress_tools.rehearsal.flows import refused, watched
from c7n_ingress_tools.report.rows import Caller, Clients, RuleKey, Window
from c7n_ingress_tools.report.text import first

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from c7n_ingress_tools.rehearsal.account import Account
    from c7n_ingress_tools.rehearsal.flows import Log
    from c7n_ingress_tools.rehearsal.groups import Group

SQL = Path(__file__).with_name("clients.sql")
NUMBERS = {name: int(number) for number, name in PROTOCOL_NAMES.items()}
WITHOUT_TYPES = (NUMBERS["icmp"], NUMBERS["icmpv6"])
NO_PROTOCOL = 255
"""Reserved by IANA: for a name that EC2 does not answer with, so that it matches nothing."""

ANY_PORT = (0, 65535)

IPV4 = 2**128 - 2**32
"""Added to an IPv4 address: all addresses are on one line of numbers, IPv6 as it is, and IPv4 at its very end.

There is multicast (ff00::/8, RFC 4291), from which nothing comes.
"""


@dataclass(frozen=True)
class Findings:
    """What flow logs show about all rules that were replaced."""

    rules: Mapping[RuleKey, Clients]
    window: Window
    notes: tuple[str, ...]
    """What people should know of the files."""


def who_came_in(
    log: Log,
    account: Account,
    records: Sequence[dict[str, Any]],
    done: Callable[[float], None] = lambda _: None,
) -> Findings:
    """Return who came in through each rule that the records say was replaced."""
    rules = _rules(records, "was")
    _put(log, account, rules, afterwards(account.groups, records))
    statements = log.connection.extract_statements(SQL.read_text(encoding="utf-8"))
    for number, statement in enumerate(statements):
        with watched(log.connection, done, number, len(statements)):
            log.connection.execute(statement)
    found = dict(zip(rules, _clients(log), strict=True))
    ((first_seen, last_seen),) = log.rows('select time_of(min("start")), time_of(max("end")) from flows')
    notes = (*log.notes, *_notes(log, account.groups))
    return Findings(found, Window(log.records, first_seen or None, last_seen or None), notes)


def check(log: Log, interfaces: Iterable[dict[str, Any]]) -> None:
    """Check that flow logs have a record about one of the interfaces.

    :raises CommandError: none has; the error names an interface of theirs.
    """
    seen = [interface for (interface,) in log.rows('select distinct "interface-id" from flows order by all')]
    if {*seen}.isdisjoint(each["NetworkInterfaceId"] for each in interfaces):
        which = f"an interface of the interfaces' file, but about {seen[0]}, for one"
        raise refused("flow logs", f"none of the {log.records:,} records is about {which}: {ONE_PLACE}")


def afterwards(groups: Iterable[Group], records: Iterable[dict[str, Any]]) -> set[RuleKey]:
    """Return the ingress rules of all groups as they are after the changes."""
    rules = {
        RuleKey(group["GroupId"], match.traffic, str(match.source))
        for group in groups
        for match in matches_from(group["IpPermissions"])
    }
    return rules.difference(_rules(records, "was")).union(_rules(records, "now"))


def _rules(records: Iterable[dict[str, Any]], when: str) -> list[RuleKey]:
    """Return the rules that records name: those that `was` there, or that are there `now`."""
    return [RuleKey(each["group"], traffic(each["traffic"]), each[when]) for each in records if each[when]]


# -- what goes into the engine


def _put(log: Log, account: Account, rules: Sequence[RuleKey], after: Collection[RuleKey]) -> None:
    """Put interfaces and rules beside the flows."""
    own, members = set(), set()
    by_id = {list_id: {*map(_span_of_source, cidrs)} for list_id, cidrs in account.prefix_lists.items()}
    for each in account.interfaces:
        spans = {*map(_span, addresses(each))}
        own |= {(each["NetworkInterfaceId"], *span) for span in spans}
        for group in each["Groups"]:
            members.add((each["NetworkInterfaceId"], group["GroupId"]))
            by_id.setdefault(group["GroupId"], set()).update(spans)
    sources = {
        source: by_id.get(source, ()) if _is_id(source) else [_span_of_source(source)]
        for source in {each.source for each in after}
    }
    ends = {"low": "UHUGEINT", "high": "UHUGEINT"}
    traffic = {"protocol": "UTINYINT", "first": "INTEGER", "last": "INTEGER", "types": "VARCHAR"}
    log.table("own", {"interface": "VARCHAR", **ends}, own)
    log.table("members", {"interface": "VARCHAR", "security_group": "VARCHAR"}, members)
    log.table(
        "open",
        {"rule": "INTEGER", "security_group": "VARCHAR", **traffic, **ends},
        (
            (number, rule.group, *_numbers(rule.traffic), *_span_of_source(rule.source))
            for number, rule in enumerate(rules)
        ),
    )
    log.table(
        "after",
        {"security_group": "VARCHAR", **traffic, "source": "VARCHAR"},
        ((each.group, *_numbers(each.traffic), each.source) for each in after),
    )
    log.table(
        "sources",
        {"source": "VARCHAR", **ends},
        ((source, *span) for source, spans in sources.items() for span in spans),
    )
    log.table("addresses", {"text": "VARCHAR", "number": "UHUGEINT"}, _addresses(log))


def addresses(interface: dict[str, Any]) -> list[Network]:
    """Return an interface's own addresses as networks.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html
    """
    listings = ("PrivateIpAddresses", "Ipv6Addresses", "Ipv4Prefixes", "Ipv6Prefixes")
    keys = ("PrivateIpAddress", "Ipv6Address", "Ipv4Prefix", "Ipv6Prefix")
    there = [interface, *(each for listing in listings for each in interface.get(listing, ()))]
    return [ip_network(each[key]) for each in there for key in keys if key in each]


def _numbers(of: Traffic) -> tuple[int | None, int, int, str]:
    """Return protocol, first and last port as flow records have them, and the types of ICMP as text."""
    if of.protocol == ALL:
        return (None, *ANY_PORT, "all")
    number = NUMBERS.get(of.protocol) or (int(of.protocol) if of.protocol.isdecimal() else NO_PROTOCOL)
    if number in WITHOUT_TYPES or of.from_port == -1:
        return (number, *ANY_PORT, ports_text(of))
    return number, of.from_port, of.to_port, ""


def _span_of_source(source: str) -> tuple[int, int]:
    return (0, 2**128 - 1) if _is_id(source) else _span(ip_network(source))


def _span(network: Network) -> tuple[int, int]:
    """Return the first and the last number of a network."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if isinstance(network, IPv4Network):
        return first + IPV4, last + IPV4
    return first, min(last, IPV4 - 1)


def _is_id(source: str) -> bool:
    return re.match("(sg|pl)-", source) is not None


def _addresses(log: Log) -> Iterator[tuple[str, int]]:
    """Return the number of each address in the flows; texts that are no address are left out."""
    query = """
        select srcaddr from flows union select dstaddr from flows
        union select "pkt-srcaddr" from flows union select "pkt-dstaddr" from flows
    """
    cursor = log.connection.cursor().execute(query)
    while rows := cursor.fetchmany(10_000):
        for (text,) in rows:
            try:
                address = ip_address(text)
            except ValueError:  # the notes count it
                continue
            yield text, int(address) + (IPV4 if isinstance(address, IPv4Address) else 0)


# -- what comes out of it


def _clients(log: Log) -> Iterator[Clients]:
    """Return what was found of each rule, by few queries however many rules there are."""
    suggestions = dict(_suggestions(log))
    for rule, (blocked, *numbers, callers, too_many, interfaces, logged) in enumerate(log.rows("from found")):
        more, networks = suggestions.get(rule) or (0, ())
        note = _unlogged(interfaces, logged)
        if blocked:
            note = "" if networks else "too many" if too_many else "too scattered"
        shown = tuple(Caller(str(_address(each["remote"])), each["bytes"], each["last"]) for each in callers or ())
        size, last, stay, scanners = numbers
        yield Clients(blocked, size, last, shown, stay, scanners, tuple(map(str, networks)), more, note)


def _unlogged(interfaces: int, logged: int) -> str:
    """Return what the flow logs do not show.

    :param interfaces: how many interfaces have the group.
    :param logged: how many of them have records, if only that there was no traffic.
    """
    if not interfaces:
        return "no interface"
    if not logged:
        return "not logged"
    return f"nobody at {logged} of {interfaces} interfaces" if logged < interfaces else ""


def _suggestions(log: Log) -> Iterator[tuple[int, Covering | None]]:
    """Suggest networks, of one rule after the other: all sources of all rules may be more than memory holds."""
    cursor = log.connection.cursor().execute("from suggested")
    while row := cursor.fetchone():
        rule, clients, scanners = row
        yield rule, covering(map(_address, clients), without=[*map(_address, scanners or ())])


def _notes(log: Log, groups: Iterable[Group]) -> Iterator[str]:
    """Return notes on the records that were not used, and on what is not known and may still let clients in."""
    ((unknown, others, example),) = log.rows("from unknown")
    if unknown:
        yield (
            f"not used: {counted(unknown, 'record')} about {counted(others, 'interface')} that the file of interfaces "
            f"does not have, such as {example}: deleted since, or of another account or region?"
        )
    ((wrong, example),) = log.rows("from wrong")
    if wrong:
        yield f"left out {counted(wrong, 'record')} with a text that is not an address, such as {example}"
    if unseen := [source for (source,) in log.rows("from unseen")]:
        yield f"what is in {first(unseen)} is not known here: it may still let blocked clients in"
    beside = {group for (group,) in log.rows("select security_group from beside")}
    if lacking := sorted(beside - {group["GroupId"] for group in groups}):
        yield f"the file of groups lacks {first(lacking)}: its rules may still let blocked clients in"


def _address(number: int) -> Address:
    return IPv4Address(number - IPV4) if number >= IPV4 else IPv6Address(number)
