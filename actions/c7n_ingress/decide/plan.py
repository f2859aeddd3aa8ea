"""Decide what becomes of a group's open rules.

The promise that every plan keeps, applied in the order ``authorize``, ``modify``, ``revoke``: at no moment has the
group fewer authorized sources than before, or more open ones; and planning again afterwards returns an empty plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from c7n_ingress.decide.openness import BITS, is_wide, open_sources
from c7n_ingress.decide.rules import Match, Network, Rule, Source, Traffic, text_of


class Replacement(NamedTuple):
    """A rule, and a source that replaces its own or gets a rule beside it: for an open rule, a network."""

    rule: Rule
    source: Source

    @property
    def key(self) -> tuple[str, Source]:
        """What identifies it, also if somebody has changed its rule meanwhile."""
        return self.rule.id, self.source


class Plan(NamedTuple):
    """What one group needs, each part in one call, and what cannot be done."""

    authorize: Sequence[Replacement] = ()
    """Sources that need a rule of their own."""
    modify: Sequence[Replacement] = ()
    """Rules that become a rule for another source."""
    revoke: Sequence[Rule] = ()
    """Rules that are removed."""
    left: Sequence[str] = ()
    """What is left alone, and why: one sentence each. It is reported."""
    refused: Sequence[str] = ()
    """What should be done and cannot: one sentence each. The group fails."""
    look_again: bool = False
    """Whether the group has to be read again: what comes next depends on what this plan changes."""
    missing: Sequence[Match] = ()
    """Matches without a rule: either the group has just changed, or the comparison is wrong."""
    back: Sequence[Match] = ()
    """What an undo need not restore: it is in the group again already."""

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.authorize or self.modify or self.revoke)


UNREADABLE_LIST = (
    "that prefix list cannot be read, so nobody knows whether it is open: ask its owner to share it with this account "
    "again, or revoke the rule"
)

UNANSWERED_LIST = (
    "EC2 did not list what that prefix list holds, so nobody knows whether it is open; it is left alone until the next "
    "run"
)

TOGETHER = (
    "it is authorized, and so wide that the group stays open to the internet by it and its other sources for the same "
    "ports together: remove those, or authorize a narrower network"
)


def replacement(
    rules: Iterable[Rule],
    matches: Collection[Match],
    authorized: Sequence[Network],
    prefix_lists: Mapping[str, int | str | None] = MappingProxyType({}),
    may: Callable[[Rule, Sequence[Network]], bool] = lambda _rule, _networks: True,
) -> Plan:
    """Plan the replacement of the rules that the filter matched, and of no others.

    :param rules: all ingress rules of the group now.
    :param authorized: the authorized networks of both families, in order of preference.
    :param prefix_lists: what the filter noted of prefix lists, see ``PREFIX_LISTS``.
    :param may: whether these networks may replace a rule. If not, the rule stays, and is planned for as if it were not
        matched.
    """
    rules, matches = list(rules), set(matches)
    missing = list(matches.difference(rule.match for rule in rules))
    exists = _authorized_by_traffic(rules, authorized)
    by_version = {version: [each for each in authorized if each.version == version] for version in (4, 6)}
    within = _Within(authorized)
    # A rule within an authorized network needs no change, even if a broad filter matches it.
    matched = [rule for rule in rules if rule.match in matches and rule.source not in within]
    matched.sort(key=lambda rule: isinstance(rule.source, str))  # what can become another first

    authorize, modify, revoke, left, refused = [], [], [], [], []
    for rule in matched:
        version = prefix_lists.get(rule.source) if isinstance(rule.source, str) else rule.source.version
        if version is None:
            if rule.source in prefix_lists:
                left.append(f"{text_of(rule.match)}: {UNREADABLE_LIST}")
            else:
                refused.append(
                    f"{text_of(rule.match)}: no network can replace a reference; narrow the filter by Cidr or CidrV6"
                )
            continue
        if isinstance(version, str):
            refused.append(f"{text_of(rule.match)}: {UNANSWERED_LIST} ({version})")
            continue
        widest = 0 if isinstance(rule.source, str) else rule.source.prefixlen
        narrow = [network for network in by_version[version] if network.prefixlen >= widest]
        if by_version[version] and not narrow:
            refused.append(
                f"{text_of(rule.match)}: {by_version[version][0]} is wider than what it would replace; authorize a "
                "narrower network, or narrow the filter"
            )
            continue
        wanted = [network for network in narrow if id(network) not in exists[rule.traffic]]
        if not may(rule, wanted):
            continue
        exists[rule.traffic].update(map(id, wanted))
        replacements = [Replacement(rule, network) for network in wanted]
        if replacements and not isinstance(rule.source, str):  # EC2 makes no network of a prefix list
            modify.append(replacements.pop(0))
        else:
            revoke.append(rule)
        authorize += replacements
    plan = Plan(authorize, modify, revoke, left, refused, bool(missing), missing)
    if any(map(is_wide, authorized)):
        left += _open_for_authorized(carried_out(rules, plan), within)
    return plan


def _open_for_authorized(rules: Iterable[Rule], within: _Within) -> list[str]:
    """Return the rules of authorized networks that, together with other sources, keep the group open."""
    sources = {rule.match: [rule.source] for rule in rules if not isinstance(rule.source, str)}
    open_ones = open_sources({match: match.traffic for match in sources}, sources)
    return [f"{text_of(each)}: {TOGETHER}" for each in sources if each in open_ones and each.source in within]


def carried_out(rules: Iterable[Rule], plan: Plan) -> list[Rule]:
    """Return the rules as they are once the plan is carried out; those that are added have no id yet."""
    gone = {rule.id for rule in plan.revoke}
    becomes = {rule.id: source for rule, source in plan.modify}
    stay = [rule._replace(source=becomes.get(rule.id, rule.source)) for rule in rules if rule.id not in gone]
    return stay + [rule._replace(id="", source=source) for rule, source in plan.authorize]


def _authorized_by_traffic(rules: Iterable[Rule], authorized: Iterable[Network]) -> defaultdict[Traffic, set[int]]:
    """Return which authorized networks have a rule already, by traffic: their ids, as a network's own hash is slow."""
    ids: dict[Source, int] = {network: id(network) for network in authorized}
    found = defaultdict(set)
    for rule in rules:
        if rule.source in ids:
            found[rule.traffic].add(ids[rule.source])
    return found


class _Within:
    """Knows which sources are within some networks: it looks once for each prefix length, not for each network."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._firsts: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for network in networks:
            self._firsts[network.version, network.prefixlen].add(int(network.network_address))

    def __contains__(self, source: Source) -> bool:
        if isinstance(source, str):
            return False
        address = int(source.network_address)
        return any(
            version == source.version
            and prefix <= source.prefixlen
            and address >> (BITS[version] - prefix) << (BITS[version] - prefix) in firsts
            for (version, prefix), firsts in self._firsts.items()
        )
