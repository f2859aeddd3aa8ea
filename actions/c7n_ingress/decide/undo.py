"""Decide how replaced rules of a group come back, from the records of the changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta

from c7n_ingress.decide.exemptions import is_exempt
from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Entry
from c7n_ingress.decide.rules import Match, Rule, Source, Traffic, text_of

PERHAPS = "perhaps added by a call whose answer was lost, so its id is not known: remove it if nobody needs it"


def fold(entries: Iterable[Entry]) -> list[Entry]:
    """Sum up the records of a group, in any order and also if one comes twice.

    For each rule, the last records count that continue one another. If one does not start where the one before it
    ended, somebody else has changed the rule in between. The rule that was changed last comes first.
    """
    by_rule: dict[str | tuple[Traffic, Source | None], list[Entry]] = {}
    for entry in sorted(set(entries), key=lambda entry: (entry.time, repr(entry))):
        rule = entry.rule or (entry.traffic, entry.now)
        of_rule = by_rule.pop(rule, [])
        of_rule.append(entry)
        by_rule[rule] = of_rule
    return [_net(of_rule) for of_rule in reversed(by_rule.values())]


def _net(entries: Sequence[Entry]) -> Entry:
    *earlier, last = entries
    first = last
    for entry in reversed(earlier):
        if (entry.now, entry.traffic) != (first.was, first.traffic) or first.was is None:
            break
        first = entry
    agreed = len({entry.traffic for entry in entries}) == 1
    return last._replace(was=first.was, beside=first.beside, agreed=agreed)


def restoration(rules: Iterable[Rule], nets: Iterable[Entry]) -> Plan:
    """Plan how a group's rules return to what they were.

    An added rule is removed only when the rule that it was added for is back. A rule can come back only when no other
    rule is equal to it. Both may need a second look, after the changes.
    """
    rules, nets = list(rules), list(nets)
    by_id = {rule.id: rule for rule in rules}
    taken = {rule.match for rule in rules}
    back = {net.rule for net in nets if net.rule and _is_back(net, by_id.get(net.rule), taken)}
    authorize, modify, revoke, left = [], [], [], []
    for net in sorted(nets, key=lambda net: net.now is None):  # of two equal ones, the one that keeps its id is first
        if net.rule is None:
            if (shown := _shown(net, None)) in taken:
                left.append(f"{text_of(shown)}: {PERHAPS}")
            continue
        rule = by_id.get(net.rule)
        if net.rule in back or (net.was is None and rule is None):
            continue
        if why := _why_left(net, rule, taken, back):
            left.append(f"{text_of(_shown(net, rule))} ({net.rule}): {why}")
        elif net.was is None:
            revoke.append(by_id[net.rule])
        else:
            taken.add(Match(net.traffic, net.was))
            if net.now is None:
                rule = Rule(net.rule, net.traffic, net.was, net.description, net.tags)
                authorize.append(Replacement(rule, net.was))
            else:
                modify.append(Replacement(by_id[net.rule], net.was))
    again = [Match(net.traffic, net.was) for net in nets if net.rule in back and net.was is not None]
    return Plan(authorize, modify, revoke, left, look_again=bool(left and (authorize or modify)), back=again)


def _is_back(net: Entry, rule: Rule | None, present: Collection[Match]) -> bool:
    """Whether a rule is what it was. A removed one may be back with another id."""
    if net.was is None:
        return False
    before = Match(net.traffic, net.was)
    return before in present if net.now is None else rule is not None and rule.match == before


def _why_left(net: Entry, rule: Rule | None, taken: Collection[Match], back: Collection[str]) -> str | None:
    """Return why a rule is left alone, if it is."""
    if net.now is None and rule is not None:
        return "the journal has it as removed, and it exists"
    if net.now is not None and (what := _changed(net, net.now, rule)):
        return f"{what} since it was {net.was or 'added'}"
    if net.was is None:
        return None if net.beside in back else "the rule beside which it was added is not back"
    if net.now is None and not net.agreed:
        return "the journal does not agree on what it let in"
    return f"it was {net.was}, for which there is another rule now" if Match(net.traffic, net.was) in taken else None


def _changed(net: Entry, now: Source, rule: Rule | None) -> str | None:
    """Return what somebody changed in a rule after its last record. Such a rule is not the pack's any more."""
    if rule is None:
        return "removed"
    if rule.match != Match(net.traffic, now):
        return "changed"
    if (rule.description or "") != (net.description or ""):
        return "its description changed"
    return "its tags changed" if _own(rule.tags) != _own(net.tags) else None


def _own(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tags that people set: AWS sets those that begin with ``aws:``."""
    return {key: value for key, value in tags if not key.startswith("aws:")}


def _shown(net: Entry, rule: Rule | None) -> Match:
    """Return how a rule is shown: as it is now, or else as it was last."""
    return rule.match if rule else Match(net.traffic, net.now or net.was or "")


def exemption(today: date, days: int, present: str | None) -> str:
    """Return the day until which the group is exempt: in so many days, or the later day that it has already.

    A day that exempts nothing, such as one too far ahead, does not count.
    """
    until = (today + timedelta(days)).isoformat()
    return present if present and is_exempt(present, today) and until < present else until
