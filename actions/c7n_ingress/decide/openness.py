"""What "open to the internet" means: one definition for rules, prefix lists and authorized networks alike.

A source is open that is wider than /8, or for IPv6 wider than /16. Sources for the same port are open together if they
hold more addresses than one such network: sixty /8 are as open as one /0, and so are rules for sixty port ranges that
have one port in common. There, sources no wider than /16 (/32) do not count: a thousand of them, as many as a group can
hold, are not the internet, and what replaces open ones is like them. Only addresses count from which somebody can come
over the internet: private, link-local, loopback, multicast and reserved ones do not.

Anyone who may create a group could make a slow decision take minutes, so this takes one step for each rule that is not
open by itself, for all ports at once. EC2 bounds how many there are: a group has 1,000 rules of a family at most, and
each reference to a prefix list counts as many rules as the list may have entries.
https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple, TypeVar

from c7n_ingress.decide.rules import ALL, ICMP, Network, Traffic

Key = TypeVar("Key", bound=Hashable)

WIDEST_PREFIX = {4: 8, 6: 16}
"""The shortest prefix, by IP version, that does not count as open to the internet."""

BITS = {4: 32, 6: 128}
"""How many bits an address has, by IP version."""

FINEST_PREFIX = {4: 32, 6: 40}
"""The prefix of the networks that are counted, by IP version: addresses of IPv4, and /40 networks of IPv6.

What is narrower counts as the one that holds it, so that both families have as many up to the widest that is not open.
"""

MOST = 1 << 24
"""How many of these a port may be open to: one network of the widest prefix."""

NARROW = {4: 1 << 16, 6: 1 << 8}
"""How many of these a source may hold, by IP version, and not count where others are open together: a /16, or a /32."""

PRIVATE: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("100.64.0.0/10"),
    IPv6Network("fc00::/7"),
)
"""Networks that each VPC may use: RFC 1918, RFC 6598, RFC 4193."""

UNUSABLE: Mapping[Network, str] = {
    ip_network("0.0.0.0/8"): "'this network'",
    ip_network("127.0.0.0/8"): "loopback",
    ip_network("169.254.0.0/16"): "link-local",
    ip_network("224.0.0.0/4"): "multicast",
    ip_network("240.0.0.0/4"): "reserved",
    ip_network("::/128"): "unspecified",
    ip_network("::1/128"): "loopback",
    ip_network("::ffff:0:0/96"): "IPv4 written as IPv6",
    ip_network("fe80::/10"): "link-local",
    ip_network("ff00::/8"): "multicast",
}
"""Networks from which no packet comes to a group, and what they are.

https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""


def is_open(network: Network) -> bool:
    """Whether a network counts as open by itself."""
    return network.prefixlen < WIDEST_PREFIX[network.version] and _block(network).public > 0


def are_open(networks: Iterable[Network]) -> bool:
    """Whether networks count as open, each by itself or those of one family together."""
    networks = list(networks)
    return any(map(is_open, networks)) or any(
        _extent(_merged(each for each in networks if each.version == version)) > MOST for version in (4, 6)
    )


def open_sources(traffic: Mapping[Key, Traffic], sources: Mapping[Key, Sequence[Network]]) -> set[Key]:
    """Return those of a group's rules that let the internet in, by themselves or together.

    Of rules that are open only together, the widest are returned: from the narrowest to the widest, a rule is kept as
    long as no port is open by those that are kept. Rules as wide as each other are kept in the order of their networks.

    :param traffic: what each rule lets in.
    :param sources: the networks that each rule lets in, of one family: one, or all those of its prefix list.
    """
    found = set()
    wide: dict[int, list[tuple[Key, tuple[Traffic, tuple[_Block, ...]]]]] = {4: [], 6: []}
    for key, networks in sources.items():
        blocks = _merged(networks)
        extent = _extent(blocks)
        if extent > MOST or any(map(is_open, networks)):
            found.add(key)
        elif networks and extent > NARROW[networks[0].version]:
            wide[networks[0].version].append((key, (traffic[key], blocks)))
    for of_family in wide.values():
        found.update(of_family[number][0] for number in _too_wide(tuple(rule for _, rule in of_family)))
    return found


def lets_in(wide: Traffic, narrow: Traffic) -> bool:
    """Whether traffic covers the first port of other traffic; for ICMP, its type and code.

    Rules that have any port in common all cover the first port of one of them.
    """
    if wide.protocol == ALL:
        return True
    (first, last), (port, _) = _span(wide), _span(narrow)
    return wide.protocol == narrow.protocol and first <= port <= last


def covering(wide: Iterable[Traffic], narrow: Iterable[Traffic]) -> set[Traffic]:
    """Return the wide traffic that covers any of the narrow one, in a time that grows as n log n."""
    wide, narrow = list(wide), list(narrow)
    spans = _spans([*wide, *narrow])
    firsts = sorted(first for first, _ in spans[len(wide) :])
    return {
        traffic
        for traffic, (first, last) in zip(wide, spans[: len(wide)], strict=True)
        if bisect_left(firsts, first) < bisect_right(firsts, last)
    }


def is_wide(network: Network) -> bool:
    """Whether a network is wide enough to be part of what is open together."""
    return _block(network).public > NARROW[network.version]


def is_private(network: Network) -> bool:
    """Whether a network is a private one."""
    return any(network.version == private.version and network.subnet_of(private) for private in PRIVATE)  # type: ignore[arg-type]


def unusable(network: Network) -> str | None:
    """Return what a network is from which no packet comes to a group; None for any other."""
    for each, what in UNUSABLE.items():
        if each.version == network.version and network.subnet_of(each):  # type: ignore[arg-type]
            return what
    return None if _block(network).public or is_private(network) else "reserved"


# -- what is open together

LANE = 1 << 16
"""How many places a protocol has where all traffic is put on one line: as many as it has ports, or types and codes."""


@lru_cache(maxsize=64)
def _too_wide(rules: tuple[tuple[Traffic, tuple[_Block, ...]], ...]) -> frozenset[int]:
    """Return the places of the rules that are too wide beside narrower ones. None of them is open by itself."""
    every = sorted({block for _, blocks in rules for block in blocks})
    if _extent(_outermost(every)) <= MOST:
        return frozenset()
    spans = _spans([traffic for traffic, _ in rules])
    ports = sorted({first for first, _ in spans})  # rules that have a port in common all have some rule's first one
    kept = _Kept(len(ports), every)
    order = sorted((_extent(blocks), blocks, traffic, number) for number, (traffic, blocks) in enumerate(rules))
    found = set()
    for _, blocks, _, number in order:
        first, last = spans[number]
        if not kept.add(blocks, bisect_left(ports, first), bisect_right(ports, last)):
            found.add(number)
    return frozenset(found)


def _spans(traffic: Sequence[Traffic]) -> list[tuple[int, int]]:
    """Put all traffic on one line, each protocol on a part of its own: the first and the last place of each."""
    names = dict.fromkeys([ALL, *(each.protocol for each in traffic)])
    lanes = {name: number * LANE for number, name in enumerate(names)}
    spans = []
    for each in traffic:
        first, last = _span(each)
        lane = lanes[each.protocol]
        spans.append((0, len(lanes) * LANE) if each.protocol == ALL else (lane + first, lane + last))
    return spans


def _span(of: Traffic) -> tuple[int, int]:
    """Return the first and the last place of traffic in its protocol's lane: ports, or ICMP's types and codes."""
    if of.from_port == -1:
        return 0, LANE - 1
    if of.protocol not in ICMP:
        return of.from_port, of.to_port
    first = 256 * of.from_port  # a type has 256 codes
    return (first, first + 255) if of.to_port == -1 else (first + of.to_port,) * 2


DIGIT = MOST.bit_length() + 1
"""How many bits a port has in a number that holds a sum for each port: adding two such numbers adds all ports at once.

A sum of two sources of MOST takes as many.
"""

CARRY = 1 << (DIGIT - 1)


class _Kept:
    """The sources that are kept, and how much of the internet they hold together, port by port.

    Two networks either have no address in common or one holds the other. So a network that is added adds what is not
    held yet: by itself, by networks in it, or by those around it.

    :param ports: how many ports there are.
    :param blocks: the networks of all sources, in order.
    """

    def __init__(self, ports: int, blocks: Iterable[_Block]) -> None:
        self._ones = ((1 << DIGIT * ports) - 1) // ((1 << DIGIT) - 1)
        self._carries = self._ones * CARRY
        self._sum = self._ones * (CARRY - 1 - MOST)
        """What is held, for each port, and as much more as lets a port's carry bit say that it is open."""
        self._held: dict[_Block, int] = {}
        """What is held of a network, for each port; where a wider network is kept, that counts instead."""
        self._whole: dict[_Block, int] = {}  # for each port, all bits where a network itself is kept
        self._around: dict[_Block, list[_Block]] = {}  # the wider networks that hold a network, the next one first
        around: list[_Block] = []
        for block in blocks:
            while around and around[-1].last < block.first:
                around.pop()
            self._around[block] = around[::-1]
            around.append(block)
        self._ahead = sorted(self._around, key=lambda block: block.size)
        """The networks that pass nothing on yet of what is held of them, the narrowest last."""

    def add(self, source: Sequence[_Block], start: int, end: int) -> bool:
        """Keep a source for the ports from `start` up to `end`, unless one of them would be open.

        :returns: whether it is kept.
        """
        self._reach(min(block.size for block in source))
        shift, every = DIGIT * start, (1 << DIGIT * (end - start)) - 1
        ones = self._ones & every
        more = [self._not_held(block, ones, every, shift) for block in source]
        if sum(more, self._sum >> shift) & self._carries:
            return False
        for block, added in zip(source, (each << shift for each in more), strict=True):
            self._sum += added
            self._held[block] = self._held.get(block, 0) + added
            self._pass_on(block, added)
            self._whole[block] = self._whole.get(block, 0) | every << shift
        return True

    def _reach(self, size: int) -> None:
        """Make what is held of networks up to a size complete: those that are narrower pass on what is held of them."""
        while self._ahead and self._ahead[-1].size >= size:
            block = self._ahead.pop()
            if held := self._held.get(block):
                self._pass_on(block, held)

    def _pass_on(self, block: _Block, added: int) -> None:
        """Add what is held of a network to the one around it and, where that has passed on its own, to the next."""
        for each in self._around[block]:
            self._held[each] = self._held.get(each, 0) + added
            if self._ahead and each.size <= self._ahead[-1].size:
                return

    def _not_held(self, block: _Block, ones: int, every: int, shift: int) -> int:
        more = ones * block.public - (self._held.get(block, 0) >> shift & every)
        for each in self._around[block]:
            if each in self._whole:
                more &= ~(self._whole[each] >> shift)
        return more


# -- the addresses of the internet


class _Block(NamedTuple):
    """The addresses of a network, counted as FINEST_PREFIX says."""

    first: int
    size: int
    """The negative of how many there are, so that a wider network comes before those in it."""
    public: int
    """How many of them are on the internet."""

    @property
    def last(self) -> int:
        """The last one."""
        return self.first - self.size - 1


def _extent(blocks: Iterable[_Block]) -> int:
    """Count how much of the internet networks hold together that have no address in common."""
    return sum(block.public for block in blocks)


def _merged(networks: Iterable[Network]) -> tuple[_Block, ...]:
    """Return networks of one family, in order, without those that are within others."""
    blocks = [*map(_block, networks)]
    return tuple(blocks if len(blocks) == 1 else _outermost(sorted(blocks)))


def _outermost(blocks: Iterable[_Block]) -> Iterator[_Block]:
    """Return those that are not within the ones before."""
    last = -1
    for block in blocks:
        if block.first > last:
            last = block.last
            yield block


@lru_cache(maxsize=4096)
def _block(network: Network) -> _Block:
    first, size = _counted(network)
    aside = (min(size, other) for at, other in _ASIDE[network.version] if first < at + other and at < first + size)
    return _Block(first, -size, size - sum(aside))  # one of two networks that overlap holds the other


def _counted(network: Network) -> tuple[int, int]:
    """Return the place of the first address of a network, and how many there are."""
    finest = FINEST_PREFIX[network.version]
    return int(network.network_address) >> (BITS[network.version] - finest), 1 << max(0, finest - network.prefixlen)


_ASIDE = {
    version: [
        _counted(each)
        for each in (*PRIVATE, *UNUSABLE)
        if each.version == version and each.prefixlen <= FINEST_PREFIX[version]
    ]
    for version in (4, 6)
}
"""The networks from which nobody comes over the internet, none within another."""
