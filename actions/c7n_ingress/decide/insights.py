"""The queries that sum up who came in through rules, and how their answers are read.

They are in CloudWatch Logs Insights' own language, over the fields that it finds by itself in VPC flow logs of the
default format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html. In them stands nothing that somebody
typed: ids, addresses, ports and protocols alone.

Security groups let answers in by no rule, and the default format does not say what is one. Where a rule is
open for more than ``WIDE`` ports, what comes from a port below ``EPHEMERAL`` to another one is taken for an answer. Of
fewer ports it is shown: a client that is overlooked is worse than an answer that is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from ipaddress import ip_address
from itertools import product
from math import isfinite
from typing import Any

from c7n_ingress.decide.came_in import Interface, Opening, Row
from c7n_ingress.decide.packed import packed
from c7n_ingress.decide.rules import PROTOCOL_NAMES, Network, Traffic

LONGEST = 10_000
"""How many characters a query may have ([API] StartQuery, queryString).

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
"""

MOST_ROWS = 10_000
"""How many rows one answer holds: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetQueryResults.html"""

WIDE, EPHEMERAL = 10_000, 32_768
"""Of how many ports a rule lets answers in, too; and from which port on clients wait for them, as Linux has it."""

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
