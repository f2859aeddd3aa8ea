"""Decide what becomes of a group's open rules.

The promise that every plan keeps, applied in the order ``authorize``, ``modify``, ``revoke``: at no moment has the
group fewer authorized sources than before, or more open ones; and planning again afterwards gives an empty plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from c7n_ingress.decide.openness import is_wide, open_sources
from c7n_ingress.decide.rules import Match, Network, Rule, Source, text_of


class Replacement(NamedTuple):
    """A rule, and a source that takes the place of its own, or gets a rule beside it: for an open rule, a network."""

    rule: Rule
    source: Source


class Plan(NamedTuple):
    """What is to be done to one group, each part in one call, and what cannot be done."""

    authorize: Sequence[Replacement] = ()
    """Sources that need a rule of their own."""
    modify: Sequence[Replacement] = ()
    """Rules that become a rule for another source."""
    revoke: Sequence[Rule] = ()
    """Rules that go."""
    left: Sequence[str] = ()
    """What is left alone, and why: one sentence each. People are told of it."""
    refused: Sequence[str] = ()
    """What should be done and cannot: one sentence each. A failure."""
    look_again: bool = False
    """Whether the group ought to be read again: what comes next depends on what this plan makes of it."""
    missing: Sequence[Match] = ()
    """Matches that no rule answers to: either the group has just changed, or the comparison is at fault."""
    back: Sequence[Match] = ()
    """What an undo has nothing to do for: it is in the group again already."""

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.authorize or self.modify or self.revoke)


UNREADABLE = (
    "that prefix list cannot be read, so nobody knows whether it is open: have its owner share it with this account "
    "again, or revoke the rule"
)

NOT_TOLD = (
    "EC2 did not tell what that prefix list holds, so nobody knows whether it is open; it is left alone until the next "
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
) -> Plan:
    """Plan the replacement of the rules that the filter matched, and of no others.

    :param rules: all ingress rules that stand in the group now.
    :param matches: what the policy's filter matched in that group.
    :param authorized: the authorized networks of both families, in order of preference.
    :param prefix_lists: the IP version of each prefix list that is open, by id; why EC2 did not tell it, or None for
        one that cannot be read.
    """
    rules = list(rules)
    found = {rule.match for rule in rules}
    by_version = {version: [each for each in authorized if each.version == version] for version in (4, 6)}
    # A rule within an authorized network is as it should be, even if a broad filter matches it.
    matched = [rule for rule in rules if rule.match in matches and not _is_within(rule.source, by_version)]
    matched.sort(key=lambda rule: isinstance(rule.source, str))  # what can become another first

    authorize, modify, revoke, left, refused = [], [], [], [], []
    for rule in matched:
        version = prefix_lists.get(rule.source) if isinstance(rule.source, str) else rule.source.version
        if version is None:
            if rule.source in prefix_lists:
                left.append(f"{text_of(rule.match)}: {UNREADABLE}")
            else:
                refused.append(
                    f"{text_of(rule.match)}: no network can take the place of a reference; narrow the filter by Cidr "
                    "or CidrV6"
                )
            continue
        if isinstance(version, str):
            refused.append(f"{text_of(rule.match)}: {NOT_TOLD} ({version})")
            continue
        of_family = by_version[version]
        wider = [network for network in of_family if _is_wider(network, rule.source)]
        if wider and len(wider) == len(of_family):
            refused.append(
                f"{text_of(rule.match)}: {wider[0]} is wider than what it would replace; authorize a narrower network, "
                "or narrow the filter"
            )
            continue
        wanted = [n for n in of_family if n not in wider and Match(rule.traffic, n) not in found]
        found.update(Match(rule.traffic, network) for network in wanted)
        replacements = [Replacement(rule, network) for network in wanted]
        if replacements and not isinstance(rule.source, str):  # EC2 makes no network of a prefix list
            modify.append(replacements.pop(0))
        else:
            revoke.append(rule)
        authorize += replacements
    missing = [match for match in matches if match not in {rule.match for rule in rules}]
    plan = Plan(authorize, modify, revoke, left, refused, bool(missing), missing)
    return plan._replace(left=[*left, *_open_for_authorized(carried_out(rules, plan), by_version)])


def _open_for_authorized(rules: Sequence[Rule], authorized: Mapping[int, Sequence[Network]]) -> Iterator[str]:
    """Say of authorized networks which are so wide that, together with other sources, the group stays open by them."""
    if not any(is_wide([network], version) for version, networks in authorized.items() for network in networks):
        return
    sources = {n: [rule.source] for n, rule in enumerate(rules) if not isinstance(rule.source, str)}
    open_ones = open_sources({number: rules[number].traffic for number in sources}, sources)
    for rule in (rules[number] for number in sorted(open_ones)):
        if _is_within(rule.source, authorized):
            yield f"{text_of(rule.match)}: {TOGETHER}"


def carried_out(rules: Iterable[Rule], plan: Plan) -> list[Rule]:
    """Give the rules as they stand once the plan is carried out; those that are added have no id yet."""
    gone = {rule.id for rule in plan.revoke}
    becomes = {rule.id: source for rule, source in plan.modify}
    stay = [rule._replace(source=becomes.get(rule.id, rule.source)) for rule in rules if rule.id not in gone]
    return stay + [rule._replace(id="", source=source) for rule, source in plan.authorize]


def _is_within(source: Source, authorized: Mapping[int, Sequence[Network]]) -> bool:
    return not isinstance(source, str) and any(
        source.subnet_of(network)  # type: ignore[arg-type]  # they are of one version
        for network in authorized[source.version]
    )


def _is_wider(network: Network, source: Source) -> bool:
    return not isinstance(source, str) and network.prefixlen < source.prefixlen
