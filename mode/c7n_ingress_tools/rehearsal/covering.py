"""The smallest networks that hold some addresses, and none that they must not hold. Pure.

>>> covering([ip_address("198.18.0.4"), ip_address("198.18.0.5"), ip_address("198.18.0.7")], most=1)
Covering(more=1, networks=(IPv4Network('198.18.0.4/30'),))
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, collapse_addresses, ip_network
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from c7n_ingress.decide.openness import are_open, is_open, unusable
from c7n_ingress.decide.rules import Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address: TypeAlias = IPv4Address | IPv6Address

MOST = 8


class Covering(NamedTuple):
    """How many addresses networks hold beside those that were asked for, and the networks."""

    more: int
    networks: tuple[Network, ...]


def covering(addresses: Iterable[Address], without: Iterable[Address] = (), most: int = MOST) -> Covering | None:
    """Return the networks, of each family at most so many, that hold all of the addresses and the fewest others.

    Exact where that takes no more networks than `most`. Otherwise neighbours are joined where that costs the fewest
    addresses; never into a network that holds one of `without`, nor one that is open to the internet. None if that
    cannot be done with so few networks, if they are open together, if nobody can come from one of them, or if an
    address is one of `without`: the pack would not authorize them.
    """
    all_wanted = set(addresses)
    both: Covering | None = Covering(0, ())
    for version in (4, 6):
        if wanted := [each for each in all_wanted if each.version == version]:
            apart = sorted(int(each) for each in without if each.version == version)
            both = _joined(both, _of_family(wanted, apart, most))
    return None if both is None or are_open(both.networks) or any(map(unusable, both.networks)) else both


def _of_family(wanted: Iterable[Address], without: Sequence[int], most: int) -> Covering | None:
    """Choose among all sets of networks: a network covers whatever lies between the first and the last that it holds.

    The best networks for a run of sorted neighbours are either the one that holds the run, or the best for the halves
    into which that one falls; so every network that can be chosen is met once.
    """
    exact: list[Network] = sorted(collapse_addresses(cast("Iterable[IPv4Network]", wanted)))  # or of IPv6
    firsts = [int(each.network_address) for each in exact]

    def allowed(network: Network) -> bool:
        at = bisect_left(without, int(network.network_address))
        return not is_open(network) and not (at < len(without) and without[at] <= int(network.broadcast_address))

    @cache
    def best(start: int, end: int) -> tuple[Covering | None, ...]:
        """Return the best choice for exact[start:end] with at most 1, 2, … networks."""
        whole = _supernet(exact[start], exact[end - 1])
        held = sum(each.num_addresses for each in exact[start:end])
        one = Covering(whole.num_addresses - held, (whole,)) if allowed(whole) else None
        if end - start == 1:
            return (one,) * most
        middle = bisect_left(firsts, int(whole.network_address) + whole.num_addresses // 2, start, end)
        left, right = best(start, middle), best(middle, end)
        choices: list[Covering | None] = [one]
        for number in range(2, most + 1):
            ways = [one, *(_joined(left[k - 1], right[number - k - 1]) for k in range(1, number))]
            choices.append(min((way for way in ways if way), default=None))
        return tuple(choices)

    return best(0, len(exact))[-1]


def _supernet(first: Network, last: Network) -> Network:
    """Return the smallest network that holds both."""
    low, high = int(first.network_address), int(last.broadcast_address)
    length = first.max_prefixlen - (low ^ high).bit_length() if first != last else first.prefixlen
    kind = IPv4Address if isinstance(first, IPv4Network) else IPv6Address
    return ip_network((kind(low), length), strict=False)


def _joined(left: Covering | None, right: Covering | None) -> Covering | None:
    if left is None or right is None:
        return None
    return Covering(left.more + right.more, left.networks + right.networks)
