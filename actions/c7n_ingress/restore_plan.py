"""Decide how a group's replaced rules come back. Pure: no AWS, no Cloud Custodian."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from c7n_ingress.plan import Match, Plan, Replacement, Rule
from c7n_ingress.rules import text_of
from c7n_ingress.trace import ADDED, REVOKED, Trace, revoked_rule, trace_of

MOST_DAYS = 90
"""How many days ahead an exemption may be, for the policies to heed it."""


class Restoration(NamedTuple):
    """What is to be done to one group, and what of its trace has served when that is done."""

    turn: Plan = Plan()
    """What was revoked comes back, then rules become again what they were, so that nobody is locked out in between."""
    follow: Plan = Plan()
    """What was revoked comes back for which something stood in the way until then; then what was added goes."""
    rules: Sequence[Rule] = ()
    """Rules whose trace has served."""
    revoked: Sequence[Rule] = ()
    """Rules that had been revoked, and stand there again: their trace on the group has served."""
    left: Sequence[str] = ()
    """What has been changed since, and is left alone: one sentence each."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done, be there something that is left alone or not."""
        return not (self.rules or self.revoked or self.follow.revoke)


def restoration(rules: Iterable[Rule], tags: Mapping[str, str]) -> Restoration:
    """Plan the return of a group's rules to what their trace says they were.

    :param rules: all ingress rules that stand in the group now, with their tags.
    :param tags: the group's tags.
    """
    rules = list(rules)
    planner = _Planner(rules)
    for rule in rules:
        planner.read(rule)
    for rule, trace in planner.replaced:
        planner.turn_back(rule, trace)
    for key in sorted(key for key in tags if key.startswith(REVOKED)):
        planner.bring_back(key, tags[key])
    for rule, trace in planner.added:
        planner.take_away(rule, trace)
    return planner.restoration()


class _Planner:
    """Takes one trace after another, and gathers what is to be done."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.before = {rule.match for rule in rules}
        self.standing = set(self.before)
        self.replaced: list[tuple[Rule, Trace]] = []
        self.added: list[tuple[Rule, Trace]] = []
        self.back: list[Match] = []
        self.stuck: list[Match] = []
        self.modify: list[Replacement] = []
        self.authorize: list[Replacement] = []
        self.revoke: list[Rule] = []
        self.rules: list[Rule] = []
        self.revoked: list[Rule] = []
        self.left: list[str] = []

    def read(self, rule: Rule) -> None:
        """Read a rule's trace, if it has one."""
        try:
            trace = trace_of(rule)
        except ValueError:
            self.keep(rule, "its trace cannot be read: somebody has written into its tags")
            return
        if trace:
            (self.added if trace.was == ADDED else self.replaced).append((rule, trace))

    def turn_back(self, rule: Rule, trace: Trace) -> None:
        """Have a rule that became another be what it was."""
        was = Match(rule.traffic, trace.was)
        if rule.match == was and rule.traffic in trace.traffic:
            self.rules.append(rule)
            self.back.append(was)
        elif not trace.is_left(rule.match):
            self.keep(rule, f"changed since it was {trace.was}")
        elif was in self.standing:
            self.keep(rule, f"it was {trace.was}, for which there is another rule now")
        else:
            self.modify.append(Replacement(rule, trace.was))
            self.standing.remove(rule.match)
            self.standing.add(was)
            self.rules.append(rule)
            self.back.append(was)

    def bring_back(self, key: str, description: str) -> None:
        """Have a rule stand there again that was revoked, by the group's tag for it."""
        try:
            rule = revoked_rule(key, description)
        except ValueError:
            self.left.append(f"the group's tag {key} cannot be read: somebody has written into it")
            return
        if rule.match not in self.standing:
            self.authorize.append(Replacement(rule, rule.source))
            self.standing.add(rule.match)
        self.revoked.append(rule)
        if isinstance(rule.source, str):  # the networks that take a prefix list's place are added beside it
            self.back.append(rule.match)

    def take_away(self, rule: Rule, trace: Trace) -> None:
        """Have a rule go that was added, if what it was added for is back."""
        if not trace.is_left(rule.match):
            self.leave(rule, "changed since it was added")
        elif _any_beside(self.back, rule) and not _any_beside(self.stuck, rule):
            self.revoke.append(rule)
        else:
            self.leave(rule, "the rule beside which it was added does not come back")

    def keep(self, rule: Rule, why: str) -> None:
        """Leave a rule alone, and with it what may have been added for it."""
        self.stuck.append(rule.match)
        self.leave(rule, why)

    def leave(self, rule: Rule, why: str) -> None:
        """Leave a rule alone."""
        self.left.append(f"{text_of(rule.match)} ({rule.id}): {why}")

    def restoration(self) -> Restoration:
        """Give what has been gathered."""
        at_once = [each for each in self.authorize if each.rule.match not in self.before]
        later = [each for each in self.authorize if each.rule.match in self.before]
        return Restoration(
            Plan(authorize=at_once, modify=self.modify),
            Plan(authorize=later, revoke=self.revoke),
            self.rules,
            self.revoked,
            self.left,
        )


def _any_beside(matches: Iterable[Match], added: Rule) -> bool:
    """Tell whether a rule may have been added for one of these: of the same traffic and, if known, IP version."""
    kinds = (str, type(added.source))
    return any(match.traffic == added.traffic and isinstance(match.source, kinds) for match in matches)


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
