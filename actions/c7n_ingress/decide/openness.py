"""What "open to the internet" means: one definition for rules, prefix lists and authorized networks alike.

A source is open that is wider than /8, or for IPv6 wider than /16 outside of the private fc00::/7. Sources of the same
traffic are open together that hold more public addresses than one such network: sixty /8 are as open as one /0, and so
are rules for sixty port ranges that have one port in common. There, sources no wider than /16 (/32) do not count: a
thousand of them, as many as a group can hold, are no internet, and what is put in the place of open ones is like them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TypeVar

from c7n_ingress.decide.rules import ICMP, Network, Traffic

Key = TypeVar("Key", bound=Hashable)

WIDEST_PREFIX = {4: 8, 6: 16}
"""The shortest prefix, by IP version, that does not count as open to the internet."""

NARROW = {4: 1 << 16, 6: 1 << 96}
"""How many public addresses a source may hold, by IP version, and not count where others are open together."""

PRIVATE: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("100.64.0.0/10"),
    IPv6Network("fc00::/7"),
)
"""Networks from which nobody comes over the internet: RFC 1918, RFC 6598, RFC 4193."""


def is_open(network: Network) -> bool:
    """Tell whether a network counts as open by itself."""
    return network.prefixlen < WIDEST_PREFIX[network.version] and not (
        network.version == 6 and is_private(network)  # noqa: PLR2004 - the IP version
    )


def are_open(networks: Iterable[Network]) -> bool:
    """Tell whether networks count as open, each by itself or those of one family together."""
    networks = list(networks)
    if any(map(is_open, networks)):
        return True
    if len(networks) < 2:  # noqa: PLR2004 - nothing to add up
        return False
    merged = _merged(networks)
    return any(
        sum(_public(network) for network in merged if network.version == version) > _most(version) for version in (4, 6)
    )


def open_sources(traffic: Mapping[Key, Traffic], sources: Mapping[Key, Sequence[Network]]) -> set[Key]:
    """Give those of a group's rules that let the internet in, by themselves or together.

    Of rules that do so only together, the widest are given: without them, the others are no longer open.

    :param traffic: what each rule lets in.
    :param sources: the networks that each rule lets in, of one family: one, or all those of its prefix list.
    """
    found = {key for key, networks in sources.items() if are_open(networks)}
    for version in (4, 6):
        wide = [key for key in sources if key not in found and is_wide(sources[key], version)]
        if not _is_narrow([network for key in wide for network in sources[key]], version):
            found |= _too_many({key: traffic[key] for key in wide}, sources, version)
    return found


def lets_in(wide: Traffic, narrow: Traffic) -> bool:
    """Tell whether traffic covers the first port of other traffic; for ICMP, its type and code.

    Rules that have any port in common all cover the first port of one of them.
    """
    if wide.protocol == "-1":
        return True
    if wide.protocol != narrow.protocol:
        return False
    if wide.from_port == -1 or wide == narrow:
        return True
    if wide.protocol in ICMP:
        return wide.from_port == narrow.from_port and wide.to_port == -1
    return wide.from_port <= narrow.from_port <= wide.to_port


def _too_many(traffic: Mapping[Key, Traffic], sources: Mapping[Key, Sequence[Network]], version: int) -> set[Key]:
    """Give the rules that are too many, the narrowest being kept as long as no port is open by those that are kept."""
    points = set(traffic.values())
    kept: dict[Traffic, set[Network]] = {point: set() for point in points}
    found = set()
    for key in sorted(traffic, key=lambda key: (sum(map(_public, sources[key])), str(sources[key]), traffic[key])):
        covered = [point for point in points if lets_in(traffic[key], point)]
        if all(
            _is_narrow(together := kept[point].union(sources[key]), version) or not are_open(together)
            for point in covered
        ):
            for point in covered:
                kept[point].update(sources[key])
        else:
            found.add(key)
    return found


def _is_narrow(networks: Iterable[Network], version: int) -> bool:
    """Tell at little cost that networks are not open together, however they overlap."""
    return sum(map(_public, set(networks))) <= _most(version)


def _most(version: int) -> int:
    return 1 << ({4: 32, 6: 128}[version] - WIDEST_PREFIX[version])


def is_wide(networks: Sequence[Network], version: int) -> bool:
    """Tell whether a source of that family is wide enough to be part of what is open together."""
    return bool(networks) and networks[0].version == version and sum(map(_public, networks)) > NARROW[version]


def _merged(networks: Iterable[Network]) -> list[Network]:
    networks = list(networks)
    return [
        *collapse_addresses(network for network in networks if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in networks if isinstance(network, IPv6Network)),
    ]


@lru_cache(maxsize=4096)
def _public(network: Network) -> int:
    """Count a network's addresses outside of the private networks."""
    if is_private(network):
        return 0
    within = [private for private in PRIVATE if private.version == network.version and private.subnet_of(network)]  # type: ignore[arg-type]
    return network.num_addresses - sum(private.num_addresses for private in within)


def is_private(network: Network) -> bool:
    """Tell whether nobody comes from a network over the internet."""
    return any(network.version == private.version and network.subnet_of(private) for private in PRIVATE)  # type: ignore[arg-type]
