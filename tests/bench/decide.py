"""What it takes to decide about a group that somebody filled to be slow: the filter, then the plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import cycle, islice
from statistics import median
from typing import Any

from c7n.config import Config
from c7n.loader import PolicyLoader

from c7n_ingress.aws.read import MATCHED, uncollected
from c7n_ingress.decide import openness, rules
from c7n_ingress.decide.plan import Plan, replacement
from c7n_ingress.decide.reopened import was_open
from c7n_ingress.decide.rules import PREFIX_LISTS, Network, Rule, matches_from
from c7n_ingress.filters.open_ingress import OpenIngress, PrefixList
from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.bench.table import Row

MOST = 1000
"""How many rules of a family a group can have.

https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
"""
FEW = 100
ROUNDS = 5
LONGEST = 0.05
N_LOG_N = 15.0
"""How many times as long a thousand rules take as a hundred, where the time grows as n log n."""

OFFICES = [ip_network(f"198.18.{number}.0/24") for number in range(3)]
LIST = "pl-00000000000000001"


def nested(*roots: str, deepest: int) -> Iterator[str]:
    """Return the networks within others, from each in turn, the widest first."""
    for networks in zip(*(within(ip_network(root), deepest) for root in roots), strict=True):
        yield from map(str, networks)


def within(root: Network, deepest: int) -> Iterator[Network]:
    """Return a network, then its halves, then theirs."""
    for length in range(root.prefixlen, deepest + 1):
        yield from root.subnets(new_prefix=length)


def chains(deepest: int) -> Iterator[str]:
    """Return networks each of which is the half of the one before, the narrowest first: chain after chain."""
    for number in range(1 << 8):
        last = IPv6Network(((0x2A02 + number % 3) << 112 | number << 104, 128))
        yield from (str(last.supernet(new_prefix=length)) for length in range(deepest, 16, -1))


def rule(source: str, protocol: str = "tcp", first: int = 0, last: int = 65535) -> dict[str, Any]:
    """Return a permission with one source, in EC2's shape."""
    ports = {"FromPort": first, "ToPort": last} if protocol in ("tcp", "udp", "icmp") else {}
    if source.startswith("pl-"):
        return {"IpProtocol": protocol, **ports, "PrefixListIds": [{"PrefixListId": source}]}
    ranges, key = ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
    return {"IpProtocol": protocol, **ports, ranges: [{key: source}]}


def ranged(sources: Iterator[str], number: int, *, inwards: bool = True) -> list[dict[str, Any]]:
    """Return rules that each have a port range of their own, within that of the one before or around it."""
    found = [rule(each, "tcp", 1000 + n, 65000 - n) for n, each in enumerate(islice(sources, number))]
    if not inwards:
        ports = [(each["FromPort"], each["ToPort"]) for each in found]
        found = [{**each, "FromPort": a, "ToPort": b} for each, (a, b) in zip(found, ports[::-1], strict=True)]
    return found


def full(number: int) -> list[dict[str, Any]]:
    """Return rules that hold as much as may be together, and as many that are too wide beside them."""
    narrow = list(islice(nested("11.0.0.0/9", "12.0.0.0/9", deepest=16), number // 2))
    wide = [f"{first}.0.0.0/8" for first in range(13, 13 + number - number // 2)]
    wide = [each if int(each.split(".")[0]) < 100 else "12.0.0.0/8" for each in wide]
    return ranged(iter(narrow + wide), number)


def spread(number: int) -> list[dict[str, Any]]:
    """Return rules for each protocol that there is, half of them for all traffic."""
    sources = nested("11.0.0.0/8", "12.0.0.0/8", deepest=16)
    protocols = cycle(str(each) for each in range(2, 255) if each not in (6, 17, 58))
    return [rule(each, "-1" if n % 2 else next(protocols)) for n, each in enumerate(islice(sources, number))]


def listed(number: int) -> list[dict[str, Any]]:
    """Return a rule with a prefix list of half as many entries, and as many other rules."""
    return [rule(LIST, "-1"), *ranged(nested("11.0.0.0/8", "13.0.0.0/8", deepest=15), number // 2)]


def entries(number: int) -> list[str]:
    """Return what the list holds: networks in networks, as small ones as there are besides."""
    wide = list(islice(nested("11.0.0.0/9", "12.0.0.0/9", deepest=16), number // 4))
    return wide + [str(IPv4Network((14 << 24 | 4 * each, 32))) for each in range(number // 4)]


def two_eighths() -> Iterator[str]:
    """Return networks in two networks that are open together."""
    return nested("11.0.0.0/8", "12.0.0.0/8", deepest=16)


SHAPES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "one open rule beside networks in one /8": lambda n: [
        rule("0.0.0.0/0", "tcp", 22, 22),
        *ranged(nested("11.0.0.0/8", deepest=17), n - 1),
    ],
    "networks in networks, the widest for most ports": lambda n: ranged(two_eighths(), n),
    "networks in networks, the widest for fewest ports": lambda n: ranged(two_eighths(), n, inwards=False),
    "as much as may be, and too wide rules beside it": full,
    "all open": lambda n: [rule("0.0.0.0/0", "tcp", port, port) for port in range(n)],
    "all traffic": lambda n: [rule(each, "-1") for each in islice(two_eighths(), n)],
    "all protocols": spread,
    "types and codes of ICMP": lambda n: [
        rule(each, "icmp", k % 3, k % 8 - 1) for k, each in enumerate(islice(two_eighths(), n))
    ],
    "IPv6, each network in the one after it": lambda n: ranged(chains(31), n),
    "IPv6, networks in networks": lambda n: ranged(nested("2a02::/16", "2a03::/16", deepest=26), n, inwards=False),
    "a prefix list beside rules": listed,
}


def group_rules(permissions: list[dict[str, Any]]) -> list[Rule]:
    """Return the rules of a group with these permissions, as EC2 lists them."""
    matches = sorted(matches_from(permissions), key=str)
    return [Rule(f"sgr-{number}", *match, None) for number, match in enumerate(matches)]


def finder(number: int) -> OpenIngress:
    """Return the filter of a policy, which has read the prefix list."""
    data = {"name": "bench", "resource": "aws.security-group", "filters": ["open-ingress"]}
    policies = PolicyLoader(Config.empty(region="us-east-1")).load_data({"policies": [data]}, "memory://bench")
    (found,) = policies.policies[0].resource_manager.filters
    found.lists = {LIST: PrefixList("IPv4", [ip_network(each) for each in entries(number)])}
    return found


def decide(judge: OpenIngress, permissions: list[dict[str, Any]], listed_rules: list[Rule]) -> Plan:
    """Decide as a run does: which rules match, and what becomes of them."""
    (group,) = judge.process([{"GroupId": "sg-1", "IpPermissions": permissions}])
    return replacement(listed_rules, matches_from(group[MATCHED]), OFFICES, group.get(PREFIX_LISTS, {}))


def seconds(shape: Callable[[int], list[dict[str, Any]]], number: int) -> float:
    """Return how many seconds of a processor the first decision about a group takes."""
    permissions = shape(number)
    judge, listed_rules = finder(number), group_rules(permissions)
    taken = []
    for _ in range(ROUNDS):
        for cached in (openness._too_wide, openness._block, rules.network):
            cached.cache_clear()
        with uncollected():  # as in a run
            start = time.process_time()
            decide(judge, permissions, listed_rules)
            taken.append(time.process_time() - start)
    return median(taken)


def past_seconds(number: int) -> float:
    """Return how many seconds of a processor it takes to see that no open rule was among a group's past rules."""
    open_now = matches_from([rule("0.0.0.0/0", "tcp", port, port) for port in range(number)])
    past = [rule("10.0.0.0/24", "tcp", 30_000 + port, 30_000 + port) for port in range(number)]
    start = time.process_time()
    was_open(past, open_now)
    return time.process_time() - start


def measure(_cloud: Cloud) -> list[Row]:
    """Measure each shape with a hundred rules and with a thousand."""
    rows = []
    measured = {name: (seconds(shape, FEW), seconds(shape, MOST)) for name, shape in SHAPES.items()}
    measured["all open, and none of them before"] = past_seconds(FEW), past_seconds(MOST)
    for name, (few, most) in measured.items():
        rows += [
            Row(f"{MOST} rules: {name}", "seconds of a processor", LONGEST, most, ""),
            Row("growth", f"{FEW} rules", N_LOG_N, most / few, f"{most * 1000:.1f} ms : {few * 1000:.2f} ms"),
        ]
    return rows
