"""The state of one group's changes: made, perhaps made, and not made because EC2 refused them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Change
from c7n_ingress.decide.rules import Match, Rule


@dataclass
class Ledger:
    """The state of one group's changes so far."""

    made: list[Change] = field(default_factory=list)
    doubtful: list[Change] = field(default_factory=list)
    """What EC2 may have done: its answer was lost."""
    full: list[Replacement] = field(default_factory=list)
    """What found no room so far."""
    without_list: list[Replacement] = field(default_factory=list)
    """What cannot be added, because its prefix list does not exist any more."""

    @property
    def settled(self) -> int:
        """How many changes need no further try for now."""
        return len(self.made) + len(self.full) + len(self.without_list)

    def is_news(self, change: Change) -> bool:
        """Whether a change is not entered yet: one whose answer was lost can be found twice."""
        return not any(_is_same(other, change) for other in self.made)

    def enter(self, change: Change) -> None:
        """Enter a change that was made."""
        self.doubtful = [other for other in self.doubtful if not _is_same(other, change)]
        self.full = [each for each in self.full if (each.rule.id, each.source) != (change.rule.id, change.now)]
        self.made += [change] if self.is_news(change) else []

    def enter_refused(self, replacement: Replacement, *, has_room: bool) -> None:
        """Enter what EC2 refused to add: it had no room for it, or no prefix list."""
        refused = self.without_list if has_room else self.full
        refused += [replacement] if replacement not in refused else []

    def come_true(self, rules: Iterable[Rule]) -> Iterator[Change]:
        """Return the doubtful changes that were made, by the rules as they are now; an added rule has its id."""
        by_id = {rule.id: rule for rule in rules}
        by_match = {rule.match: rule for rule in by_id.values()}
        for change in list(self.doubtful):
            if change.now is None:
                if change.rule_id not in by_id:
                    yield change
                continue
            match = Match(change.rule.traffic, change.now)
            found = by_id.get(change.rule_id) if change.rule_id else by_match.get(match)
            if found and found.match == match:
                yield change._replace(rule_id=found.id)

    @property
    def made_room(self) -> bool:
        """Whether a rule was removed, so that what found no room may find it now."""
        return any(change.now is None for change in self.made)

    def next(self, plan: Plan, rules: Sequence[Rule]) -> Plan:
        """Return what of a plan is to be tried now.

        What found no room is added once a rule was removed, even if the group is closed now. What has no prefix list is
        left out.
        """
        authorize = [each for each in plan.authorize if each not in self.without_list]
        if self.made_room:
            existing = {rule.match for rule in rules}
            self.full = [each for each in self.full if Match(each.rule.traffic, each.source) not in existing]
            authorize = list(dict.fromkeys([*authorize, *self.full]))
        return plan._replace(authorize=authorize)

    def without_full(self, plan: Plan) -> Plan:
        """Return a plan without what has found no room."""
        return plan._replace(authorize=[each for each in plan.authorize if each not in self.full])


def _is_same(change: Change, other: Change) -> bool:
    """Whether two are one change; the id of a rule whose answer was lost is not known."""
    alike = (change.rule.id, change.rule.traffic, change.now) == (other.rule.id, other.rule.traffic, other.now)
    return alike and (change.rule_id == other.rule_id or None in (change.rule_id, other.rule_id))
