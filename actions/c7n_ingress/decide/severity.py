"""Which open rules are worse than others, so that the worst are closed and told first."""

from __future__ import annotations

from collections.abc import Iterable

from c7n_ingress.decide.rules import Match, Traffic

ADMINISTRATION = frozenset({22, 23, 135, 445, 2375, 2376, 3389, 5900, 5985, 5986, 6443, 10250})
"""Ports over which a machine is governed."""

DATABASES = frozenset(
    {1433, 1434, 1521, 2379, 3306, 5432, 5439, 5984, 6379, 7000, 8086, 9042, 9200, 9300, 11211, 27017}
)
"""Ports on which data is kept.

Those of Security Hub's EC2.19 are among both (https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html).
"""


def worst(matches: Iterable[Match]) -> tuple[int, int]:
    """Give how bad a group's worst open rule is: the lower, the worse."""
    return min((_rank(match.traffic) for match in matches), default=(9, 0))


def _rank(traffic: Traffic) -> tuple[int, int]:
    if traffic.protocol == "-1":
        return 0, 0
    if traffic.protocol not in ("tcp", "udp"):
        return 5, 0
    first, last = traffic.from_port, traffic.to_port
    width = 65536 if first == -1 else last - first + 1
    for rank, ports in ((1, ADMINISTRATION), (2, DATABASES)):
        if first == -1 or any(first <= port <= last for port in ports):
            return rank, -width
    return (3 if width > 1 else 4), -width
