"""How bad an open rule is, by what it lets in and how much of it: the worst are closed, reported and shown first."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from c7n_ingress.decide.rules import ALL_PORTS, Match, Traffic

SEVERITIES = ("critical", "high", "medium")
"""The worst first."""

SERVICES = {
    "tcp": {
        20: "FTP",
        21: "FTP",
        22: "SSH",
        23: "Telnet",
        135: "RPC",
        389: "LDAP",
        445: "SMB",
        636: "LDAP",
        873: "rsync",
        1433: "SQL Server",
        1434: "SQL Server",
        1521: "Oracle",
        2049: "NFS",
        2375: "Docker",
        2376: "Docker",
        2379: "etcd",
        3306: "MySQL",
        3389: "RDP",
        4333: "mSQL",
        5432: "PostgreSQL",
        5439: "Redshift",
        5500: "VNC",
        5601: "OpenSearch Dashboards",
        5900: "VNC",
        5984: "CouchDB",
        5985: "WinRM",
        5986: "WinRM",
        6379: "Redis",
        6443: "Kubernetes",
        7000: "Cassandra",
        8086: "InfluxDB",
        9042: "Cassandra",
        9092: "Kafka",
        9200: "OpenSearch",
        9300: "OpenSearch",
        10250: "Kubernetes",
        11211: "Memcached",
        27017: "MongoDB",
    },
    "udp": {
        69: "TFTP",
        161: "SNMP",
        389: "LDAP",
        623: "IPMI",
        1434: "SQL Server",
        2049: "NFS",
        3389: "RDP",
        11211: "Memcached",
    },
}
"""Ports over which a machine is administered or data is read.

They are those that Security Hub's control EC2.19 calls high risk, without those of mail and web applications, and
similar ports that IANA or a product's documentation lists.
https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-19
"""

ADMINISTRATION = frozenset({"SSH", "Telnet", "RPC", "SMB", "Docker", "RDP", "VNC", "WinRM", "Kubernetes", "IPMI"})
"""The services that administer a machine: they come before those that read data."""


class Severity(NamedTuple):
    """How bad a rule is, why, and how many ports it opens."""

    level: str
    reason: str
    """What makes it as bad, in a word or two; empty for what is merely open."""
    width: int


@cache
def severity(traffic: Traffic) -> Severity:
    """Return how bad a rule is, by what it lets in."""
    if traffic.protocol == "-1":
        return Severity("critical", "all traffic", 2 * 65536)
    if traffic.protocol not in SERVICES:
        return Severity("medium", "", 0)
    first, last = _ports(traffic)
    width = last - first + 1
    if (first, last) == ALL_PORTS:
        return Severity("critical", f"every {traffic.protocol} port", width)
    if served := _served(traffic):
        more = f" and {len(served) - 1} more" if len(served) > 1 else ""
        return Severity("high", served[0] + more, width)
    return Severity("medium", "", width)


def worst(matches: Iterable[Match]) -> tuple[int, bool, int]:
    """Return how bad a group's worst open rule is: the lower, the worse."""
    return min((_urgency(match.traffic) for match in matches), default=(len(SEVERITIES), True, 0))


def _urgency(traffic: Traffic) -> tuple[int, bool, int]:
    level, _, width = severity(traffic)
    return SEVERITIES.index(level), ADMINISTRATION.isdisjoint(_served(traffic)), -width


def _served(traffic: Traffic) -> list[str]:
    first, last = _ports(traffic)
    tables = SERVICES.values() if traffic.protocol == "-1" else [SERVICES.get(traffic.protocol, {})]
    return list(dict.fromkeys(name for table in tables for port, name in table.items() if first <= port <= last))


def _ports(traffic: Traffic) -> tuple[int, int]:
    return ALL_PORTS if traffic.from_port == -1 else (traffic.from_port, traffic.to_port)
