"""How bad an open rule is, by what it lets in and how much of it: the worst are closed, reported and shown first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from c7n_ingress.decide.rules import ALL_PORTS, Match, Traffic

SEVERITIES = ("critical", "high", "medium")
"""The worst first."""

SERVICES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "tcp": {
        "FTP": (20, 21),
        "SSH": (22,),
        "Telnet": (23,),
        "RPC": (135,),
        "LDAP": (389, 636),
        "SMB": (445,),
        "rsync": (873,),
        "SQL Server": (1433, 1434),
        "Oracle": (1521,),
        "NFS": (2049,),
        "Docker": (2375, 2376),
        "etcd": (2379,),
        "MySQL": (3306,),
        "RDP": (3389,),
        "mSQL": (4333,),
        "PostgreSQL": (5432,),
        "Redshift": (5439,),
        "VNC": (5500, 5900),
        "OpenSearch Dashboards": (5601,),
        "CouchDB": (5984,),
        "WinRM": (5985, 5986),
        "Redis": (6379,),
        "Kubernetes": (6443, 10250),
        "Cassandra": (7000, 9042),
        "InfluxDB": (8086,),
        "Kafka": (9092,),
        "OpenSearch": (9200, 9300),
        "Memcached": (11211,),
        "MongoDB": (27017,),
    },
    "udp": {
        "TFTP": (69,),
        "SNMP": (161,),
        "LDAP": (389,),
        "IPMI": (623,),
        "SQL Server": (1434,),
        "NFS": (2049,),
        "RDP": (3389,),
        "Memcached": (11211,),
    },
}
"""Services by which a machine is administered or data is read, and their ports.

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


@lru_cache(maxsize=10_000)  # anyone who may change groups chooses the traffic
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


@lru_cache(maxsize=10_000)  # anyone who may change groups chooses the traffic
def _urgency(traffic: Traffic) -> tuple[int, bool, int]:
    level, _, width = severity(traffic)
    return SEVERITIES.index(level), ADMINISTRATION.isdisjoint(_served(traffic)), -width


def _served(traffic: Traffic) -> list[str]:
    first, last = _ports(traffic)
    tables = SERVICES.values() if traffic.protocol == "-1" else [SERVICES.get(traffic.protocol, {})]
    return [name for table in tables for name, ports in table.items() if any(first <= port <= last for port in ports)]


def _ports(traffic: Traffic) -> tuple[int, int]:
    return ALL_PORTS if traffic.from_port == -1 else (traffic.from_port, traffic.to_port)
