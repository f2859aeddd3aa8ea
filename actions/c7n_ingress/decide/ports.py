"""Lists of ports as people write them: ``443``, ``tcp/443``, ``udp/8000-8010``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from c7n_ingress.decide.openness import lets_in
from c7n_ingress.decide.rules import ALL, ALL_PORTS, ICMP, Traffic
from c7n_ingress.decide.severity import SERVICES

NAMES = {
    protocol: {port: name for name, ports in services.items() for port in ports}
    for protocol, services in SERVICES.items()
}
NAMES["tcp"] |= {80: "HTTP", 443: "HTTPS"}
"""What usually listens on a port."""

PORT_PATTERN = r"^(?:(tcp|udp)/)?([0-9]{1,5})(?:-([0-9]{1,5}))?$"
"""The pattern of a port or a range: the protocol, if there is one, the first port, and the last one of a range."""


def parse_ports(values: object) -> frozenset[Traffic]:
    """Return the traffic for each port and range of a list. A port without a protocol is for tcp and for udp."""
    if not isinstance(values, list):
        raise ValueError(f"ports {values!r:.80} are not a list: write [443] or [tcp/443]")
    return frozenset(each for value in values for each in _traffic(value))


def _traffic(value: object) -> list[Traffic]:
    found = re.fullmatch(PORT_PATTERN, str(value))
    if not found:
        raise ValueError(f"{value!r:.80} is not a port: write 443, tcp/443, udp/500 or 8000-8010")
    protocol, *ports = found.groups()
    first, last = int(ports[0]), int(ports[1] or ports[0])
    highest = ALL_PORTS[1]
    if not first <= last <= highest:
        raise ValueError(f"{value!r:.80} is not a port: ports are 0 to {highest}, the lower one first")
    return [Traffic(each, first, last) for each in ([protocol] if protocol else ["tcp", "udp"])]


def any_in(ports: Iterable[Traffic], traffic: Traffic) -> bool:
    """Whether traffic includes one of some ports. All traffic does; ICMP and GRE have no ports."""
    return any(lets_in(traffic, each) or lets_in(each, traffic) for each in ports)


def traffic_words(protocol: str, ports: str) -> str:
    """Return in words what a rule lets in, by a record's protocol and ports: ``TCP 22 (SSH)``, ``all traffic``."""
    if protocol == ALL:
        return "all traffic"
    if protocol in ICMP:
        return f"{protocol.upper().replace('V', 'v')}{', all types' if ports == 'all' else f' {ports}'}"
    if protocol not in NAMES:
        return f"protocol {protocol}"
    name = NAMES[protocol].get(int(ports)) if ports.isdecimal() else None
    return f"{protocol.upper()}{', all ports' if ports == 'all' else f' {ports}'}{f' ({name})' if name else ''}"
