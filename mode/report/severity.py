"""How bad an open rule is: what it lets in, and how much of it. Pure."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

SEVERITIES = ("critical", "high", "medium")
"""Worst first."""

ALL_PORTS = (0, 65535)

# Ports over which a machine is administered or a database is read. Those that Security Hub's control EC2.19 calls high
# risk, less those of mail and web applications, and what IANA or a product's documentation gives to its like:
# https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html#ec2-19
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
        5985: "WinRM",
        5986: "WinRM",
        6379: "Redis",
        6443: "Kubernetes",
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


class Severity(NamedTuple):
    """How bad a rule is, why, and how many ports it opens."""

    level: str
    reason: str
    """What makes it as bad, in a word or two; empty for what is merely open."""
    width: int


@cache
def severity(protocol: str, ports: str) -> Severity:
    """Judge a record's `protocol` and `ports`, as the action words them: `tcp`, `22`, `8000-8010`, `all`; `-1`."""
    if protocol == "-1":
        return Severity("critical", "all traffic", 2 * 65536)
    if protocol not in SERVICES:
        return Severity("medium", "", 0)
    first, last = port_range(ports)
    width = last - first + 1
    if (first, last) == ALL_PORTS:
        return Severity("critical", f"every {protocol} port", width)
    if served := list(dict.fromkeys(name for port, name in SERVICES[protocol].items() if first <= port <= last)):
        more = f" and {len(served) - 1} more" if len(served) > 1 else ""
        return Severity("high", served[0] + more, width)
    return Severity("medium", "", width)


def port_range(ports: str) -> tuple[int, int]:
    """Read TCP's or UDP's ports. Raises ValueError for what the action does not write."""
    if ports == "all":
        return ALL_PORTS
    if not re.fullmatch(r"\d{1,5}(-\d{1,5})?", ports, re.ASCII):
        raise ValueError(f"{ports!r:.80} are no ports: 22, 8000-8010 or all")
    first, _, last = ports.partition("-")
    return int(first), int(last or first)


def traffic_text(protocol: str, ports: str) -> str:
    """Say protocol and ports for people: EC2 writes all traffic as -1, and some protocols as their numbers."""
    if protocol == "-1":
        return "all traffic"
    return f"protocol {protocol}" if protocol.isdigit() else f"{protocol} {ports}"
