"""The trace that a change leaves in tags, where a person sees it and ``restore-ingress`` finds it. Pure.

On a rule that became another, or was added:

    c7n-ingress:was   the old source, or - for a rule that was added
    c7n-ingress:now   what it was left as: tcp/22,443 from 198.18.7.0/24
    c7n-ingress:at    when
    c7n-ingress:by    which policy

``now`` names the traffic of all the rules that were changed together, so that one call can tag all of them.

A rule that was revoked leaves its trace on the group: ``c7n-ingress:was/tcp/22/0.0.0.0/0`` = its description.

EC2 takes 50 tags a resource, keys of 127 and values of 256 characters, any character
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions); a description has 255.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from typing import NamedTuple

from c7n_ingress.plan import Match, Replacement, Rule, Source, Traffic

WAS, NOW, AT, BY = KEYS = ("c7n-ingress:was", "c7n-ingress:now", "c7n-ingress:at", "c7n-ingress:by")
REVOKED = f"{WAS}/"
"""How the key of a group's tag for a revoked rule begins."""
ADDED = "-"

EXEMPTION = "open-ingress-until"
"""The tag by which the policies know a group that is to be left alone until a day."""

MOST_TAGS = 50
LONGEST_VALUE = 256

Tags = dict[str, str]


class Trace(NamedTuple):
    """What a rule's tags say became of it."""

    was: Source
    """The old source; `ADDED` for a rule that was added."""
    traffic: frozenset[Traffic]
    sources: frozenset[Source]

    def is_left(self, match: Match) -> bool:
        """Tell whether a rule stands as it was left."""
        return match.traffic in self.traffic and match.source in self.sources


class Author(NamedTuple):
    """Who changes rules: the policy; `clock` gives the time as text."""

    policy: str
    clock: Callable[[], str]

    def added(self, additions: Iterable[Replacement]) -> Tags:
        """Give the tags of rules that are added in one call."""
        return self._tags(ADDED, additions)

    def replaced(self, replacements: Iterable[Replacement]) -> Iterator[tuple[list[str], Tags]]:
        """Give the tags of rules that became others: for each call the rules' ids, and the tags that they share."""
        kinds = defaultdict(list)
        for replacement in replacements:
            kinds[replacement.rule.source, replacement.source].append(replacement)
        for (was, _), alike in kinds.items():
            for batch in batches(alike):
                yield [rule.id for rule, _ in batch], self._tags(str(was), batch)

    def _tags(self, was: str, replacements: Iterable[Replacement]) -> Tags:
        return {WAS: was, NOW: now_text(replacements), AT: self.clock(), BY: self.policy}


def batches(replacements: Iterable[Replacement]) -> Iterator[list[Replacement]]:
    """Part replacements, in order, so that what comes of each part fits into one value."""
    batch: list[Replacement] = []
    for replacement in replacements:
        if batch and len(now_text([*batch, replacement])) > LONGEST_VALUE:
            yield batch
            batch = []
        batch.append(replacement)
    if batch:
        yield batch


def revoked(rules: Iterable[Rule], present: Iterable[str]) -> tuple[Tags, list[Rule]]:
    """Give the group's tags for rules that were revoked, and the rules for which the group has no room left.

    :param present: the keys of the tags that the group has. One place is kept free for an exemption; AWS's own tags
        take none.
    """
    taken = {EXEMPTION, *(key for key in present if not key.startswith("aws:"))}
    tags: Tags = {}
    crowded: list[Rule] = []
    for rule in rules:
        key = revoked_key(rule.match)
        if key not in taken and len(taken) >= MOST_TAGS:
            crowded.append(rule)
            continue
        taken.add(key)
        tags[key] = rule.description or ""
    return tags, crowded


def revoked_key(match: Match) -> str:
    """Give the key of the group's tag for a rule that was revoked."""
    return f"{REVOKED}{match.traffic.protocol}/{_ports_text(match.traffic)}/{match.source}"


# -- reading it again


def trace_of(rule: Rule) -> Trace | None:
    """Read a rule's trace, if it has one.

    :raises ValueError: somebody has written into it.
    """
    tags = dict(rule.tags)
    if WAS not in tags:
        return None
    was = ADDED if tags[WAS] == ADDED else _source(tags[WAS])
    if was != ADDED and type(was) is not type(rule.source):
        raise ValueError(f"{rule.source} cannot have been {was}")
    traffic, _, sources = tags.get(NOW, "").partition(" from ")
    return Trace(was, frozenset(_traffics(traffic)), frozenset(map(_source, sources.split())))


def revoked_rule(key: str, description: str) -> Rule:
    """Read a group's tag, whose key begins with `REVOKED`, as the rule that was; it has no id any more.

    :raises ValueError: somebody has written into it.
    """
    protocol, ports, source = key.removeprefix(REVOKED).split("/", 2)
    return Rule("", _traffic(protocol, ports), _source(source), description or None)


# -- as text


def now_text(replacements: Iterable[Replacement]) -> str:
    """Say what rules were left as, in one line: each traffic, and each source, once."""
    replacements = list(replacements)
    ports: dict[str, dict[str, None]] = defaultdict(dict)
    for rule, _ in replacements:
        ports[rule.traffic.protocol][_ports_text(rule.traffic)] = None
    traffic = (f"{protocol}/{','.join(of_protocol)}" for protocol, of_protocol in ports.items())
    return f"{' '.join(traffic)} from {' '.join(dict.fromkeys(str(source) for _, source in replacements))}"


def _ports_text(of: Traffic) -> str:
    """Write ports so that they can be read again: ``22``, ``0-65535``, ``all``; for ICMP ``8`` or ``3-4``."""
    if of.from_port == -1:
        return "all"
    return str(of.from_port) if of == _single(of.protocol, of.from_port) else f"{of.from_port}-{of.to_port}"


def _traffics(text: str) -> Iterator[Traffic]:
    for each in text.split():
        protocol, _, ports = each.partition("/")
        yield from (_traffic(protocol, part) for part in ports.split(","))


def _traffic(protocol: str, ports: str) -> Traffic:
    if ports == "all":
        return Traffic(protocol, -1, -1)
    first, _, last = ports.partition("-")
    return Traffic(protocol, int(first), int(last)) if last else _single(protocol, int(first))


def _single(protocol: str, number: int) -> Traffic:
    """Give the traffic of one port, or of one type of ICMP with all of its codes."""
    return Traffic(protocol, number, -1 if protocol in ("icmp", "icmpv6") else number)


def _source(text: str) -> Source:
    return text if text.startswith("pl-") else ip_network(text)
