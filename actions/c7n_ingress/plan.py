"""Decide what becomes of a group's open rules. Pure: no AWS, no Cloud Custodian.

The promise that every plan keeps, applied in the order ``authorize``, ``modify``, ``revoke``: at no moment has the
group fewer authorized sources than before, or more open ones; and planning again afterwards gives an empty plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Source: TypeAlias = Network | str  # text: the id of a prefix list or of another group


class Traffic(NamedTuple):
    """What a rule lets in: the protocol's name or number, and the ports (for ICMP the type and code), -1 for all."""

    protocol: str
    from_port: int
    to_port: int


class Match(NamedTuple):
    """What a policy's filter found: traffic, and a source that it is open to. EC2 has one such rule a group at most."""

    traffic: Traffic
    source: Source


class Rule(NamedTuple):
    """An ingress rule as it stands in EC2."""

    id: str
    traffic: Traffic
    source: Source
    description: str | None
    tags: tuple[tuple[str, str], ...] = ()
    """Keys and values."""

    @property
    def match(self) -> Match:
        """What makes the rule the only one of its kind in its group."""
        return Match(self.traffic, self.source)


class Replacement(NamedTuple):
    """A rule, and a source that takes the place of its own, or gets a rule beside it: for an open rule, a network."""

    rule: Rule
    source: Source


class Plan(NamedTuple):
    """What is to be done to one group, each part in one call."""

    authorize: Sequence[Replacement] = ()
    """Networks that need a rule of their own."""
    modify: Sequence[Replacement] = ()
    """Open rules that become a rule for an authorized network."""
    revoke: Sequence[Rule] = ()
    """Open rules for which nothing is left to become."""
    references: Sequence[Rule] = ()
    """Matched rules that name no network but a prefix list or a group: no network can be said to take their place."""
    unreadable: Sequence[Rule] = ()
    """Matched rules for a prefix list that cannot be read: nobody knows here whether it is open."""
    missing: Sequence[Match] = ()
    """Matches that no rule answers to: either the group has just changed, or the comparison is at fault."""


def plan(
    rules: Iterable[Rule],
    matches: Collection[Match],
    authorized: Sequence[Network],
    prefix_lists: Mapping[str, int | None] = MappingProxyType({}),
) -> Plan:
    """Plan the replacement of the rules that the filter matched, and of no others.

    :param rules: all ingress rules that stand in the group now.
    :param matches: what the policy's filter matched in that group.
    :param authorized: the authorized networks of both families, in order of preference.
    :param prefix_lists: the IP version of each prefix list that is open, by id; None for one that cannot be read.
    """
    rules = list(rules)
    found = {rule.match for rule in rules}
    # A rule for an authorized network is as it should be, even if a broad filter matches it.
    matched = [rule for rule in rules if rule.match in matches and rule.source not in authorized]
    matched.sort(key=lambda rule: isinstance(rule.source, str))  # what can become another first
    missing = [match for match in matches if match not in found]

    authorize, modify, revoke = [], [], []
    references: list[Rule] = []
    unreadable: list[Rule] = []
    for rule in matched:
        version = prefix_lists.get(rule.source) if isinstance(rule.source, str) else rule.source.version
        if version is None:
            (unreadable if rule.source in prefix_lists else references).append(rule)
            continue
        left = [n for n in authorized if n.version == version and Match(rule.traffic, n) not in found]
        found.update(Match(rule.traffic, network) for network in left)
        replacements = [Replacement(rule, network) for network in left]
        if replacements and not isinstance(rule.source, str):  # EC2 makes no network of a prefix list
            modify.append(replacements.pop(0))
        else:
            revoke.append(rule)
        authorize += replacements
    return Plan(authorize, modify, revoke, references, unreadable, missing)
