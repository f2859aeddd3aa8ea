"""How bad a record's rule is, and what it lets in, for people. Pure."""

from __future__ import annotations

import re

from c7n_ingress.decide import severity as severities
from c7n_ingress.decide.rules import Traffic
from c7n_ingress.decide.severity import ALL_PORTS, SERVICES, Severity


def severity(protocol: str, ports: str) -> Severity:
    """Return how bad a rule is, by a record's `protocol` and `ports`: `tcp`, `22`, `8000-8010`, `all`; `-1`."""
    first, last = port_range(ports) if protocol in SERVICES else (-1, -1)
    return severities.severity(Traffic(protocol, first, last))


def port_range(ports: str) -> tuple[int, int]:
    """Read the ports of TCP or UDP.

    :raises ValueError: the action does not write such ports.
    """
    if ports == "all":
        return ALL_PORTS
    if not re.fullmatch(r"\d{1,5}(-\d{1,5})?", ports, re.ASCII):
        raise ValueError(f"{ports!r:.80} are no ports: 22, 8000-8010 or all")
    first, _, last = ports.partition("-")
    return int(first), int(last or first)


def traffic_text(protocol: str, ports: str) -> str:
    """Return protocol and ports in words: EC2 writes all traffic as -1, and some protocols as their numbers."""
    if protocol == "-1":
        return "all traffic"
    return f"protocol {protocol}" if protocol.isdigit() else f"{protocol} {ports}"
