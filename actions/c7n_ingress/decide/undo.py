"""Decide how a group's rules come back that were replaced, from the records of what was done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Entry
from c7n_ingress.decide.rules import Match, Rule, Source, Traffic, text_of

MOST_DAYS = 90
"""How many days ahead an exemption may be, for the policies to heed it."""

UNDONE = frozenset({"restored", "removed"})
"""How the records call what ``restore-ingress`` did."""


class Net(NamedTuple):
    """What several records of one rule come to."""

    rule: str
    traffic: Traffic
    was: Source | None
    now: Source | None
    description: str | None
    tags: tuple[tuple[str, str], ...]
    beside: str | None
    agreed: bool
    """Whether all records of the rule say that it let in the same traffic."""

    def match(self, source: Source) -> Match:
        """Give what the rule was, or is, for a source."""
        return Match(self.traffic, source)


def fold(entries: Iterable[Entry]) -> list[Net]:
    """Fold the records of a group, in whatever order and however often they come, into what they come to.

    Of each rule the last records count that follow on one another: between others, somebody else has changed it.
    """
    by_rule: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(set(entries), key=lambda entry: entry.time):
        by_rule[entry.rule].append(entry)
    return [net for of_rule in by_rule.values() if (net := _net(of_rule)) and net.was != net.now]


def _net(entries: Sequence[Entry]) -> Net | None:
    *earlier, last = entries
    if last.how in UNDONE:
        return None
    first = last
    for entry in reversed(earlier):
        if entry.how in UNDONE or (entry.now, entry.traffic) != (first.was, first.traffic) or first.was is None:
            break
        first = entry
    agreed = len({entry.traffic for entry in entries}) == 1
    return Net(last.rule, last.traffic, first.was, last.now, last.description, last.tags, first.beside, agreed)


def restoration(rules: Iterable[Rule], nets: Iterable[Net]) -> Plan:
    """Plan the return of a group's rules to what they were.

    What was added goes only when the rule for whose sake it was added stands again, which takes another look.

    :param rules: all ingress rules that stand in the group now.
    :param nets: what the group's records come to.
    """
    by_id = {rule.id: rule for rule in rules}
    nets = list(nets)
    standing = {rule.match for rule in by_id.values()}
    authorize, modify, left = [], [], []
    back = {net.rule for net in nets if _is_back(net, by_id.get(net.rule), standing)}
    for net in nets:
        if net.was is None or net.rule in back:
            continue
        was, rule = net.match(net.was), by_id.get(net.rule)
        if net.now is None:
            if why := _why_not_back(net, rule):
                left.append(f"{text_of(was)} ({net.rule}): {why}")
            else:
                authorize.append(Replacement(Rule(net.rule, net.traffic, net.was, net.description, net.tags), net.was))
        elif rule is None or rule.match != net.match(net.now):
            left.append(f"{text_of(net.match(net.now))} ({net.rule}): changed since it was {net.was}")
        elif was in standing:
            left.append(f"{text_of(rule.match)} ({net.rule}): it was {net.was}, for which there is another rule now")
        else:
            modify.append(Replacement(rule, net.was))
    modify, twins = _one_each(modify)
    authorize, _ = _one_each(authorize, {Match(rule.traffic, source) for rule, source in modify})
    left += [f"{text_of(rule.match)} ({rule.id}): another rule becomes {source} again" for rule, source in twins]
    coming = {rule.id for rule, _ in (*authorize, *modify)}
    revoke, more = _added(by_id, nets, back, left if not coming else [])
    return Plan(authorize, modify, revoke if not coming else [], left, look_again=bool(coming and more))


def _is_back(net: Net, rule: Rule | None, standing: Collection[Match]) -> bool:
    """Tell whether a rule is what it was; one that was removed may have come back under another id."""
    if net.was is None:
        return False
    return net.match(net.was) in standing if net.now is None else rule is not None and rule.match == net.match(net.was)


def _why_not_back(net: Net, rule: Rule | None) -> str | None:
    if rule is not None:
        return "the journal says that it was removed, and it stands there"
    if not net.agreed:
        return "the journal does not agree on what it let in"
    return None


def _one_each(
    replacements: Iterable[Replacement], taken: Collection[Match] = ()
) -> tuple[list[Replacement], list[Replacement]]:
    """Part replacements into those of which no two become the same rule, and the others."""
    seen = set(taken)
    first: list[Replacement] = []
    others: list[Replacement] = []
    for replacement in replacements:
        match = Match(replacement.rule.traffic, replacement.source)
        (others if match in seen else first).append(replacement)
        seen.add(match)
    return first, others


def _added(
    by_id: Mapping[str, Rule], nets: Iterable[Net], back: Collection[str], left: list[str]
) -> tuple[list[Rule], bool]:
    """Give the rules that were added and may go, and whether there are any that were added at all."""
    gone, any_added = [], False
    for net in nets:
        rule = by_id.get(net.rule)
        if net.was is not None or net.now is None or rule is None:
            continue
        any_added = True
        if rule.match != net.match(net.now):
            left.append(f"{text_of(rule.match)} ({rule.id}): changed since it was added")
        elif net.beside not in back:
            left.append(f"{text_of(rule.match)} ({rule.id}): the rule beside which it was added is not back")
        else:
            gone.append(rule)
    return gone, any_added


def exemption(today: date, days: int, present: str | None) -> str:
    """Give the day until which the group is exempt: in so many days, or the later one that it has already.

    A day that the policies do not heed, or too far ahead, does not count.
    """
    until = (today + timedelta(days)).isoformat()
    most = (today + timedelta(MOST_DAYS)).isoformat()
    return present if present and _is_day(present) and until < present <= most else until


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
