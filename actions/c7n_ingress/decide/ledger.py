"""The state of one group's changes: made, perhaps made, and not made because EC2 refused them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Change
from c7n_ingress.decide.rules import Match, Rule, Source, Traffic

_Key = tuple[str, Traffic, Source | None]
"""What is the same in two changes that may be one. An added rule's id is not: it is unknown if the answer was lost."""


class Ledger:
    """The state of one group's changes so far. A look-up costs the same however many there are."""

    def __init__(self) -> None:
        self.made: list[Change] = []
        self.full: dict[tuple[str, Source], Replacement] = {}
        """What found no room so far, by its key."""
        self.without_list: dict[tuple[str, Source], Replacement] = {}
        """What cannot be added, because its prefix list does not exist any more."""
        self._ids: defaultdict[_Key, set[str | None]] = defaultdict(set)
        """The ids of the rules of what was made."""
        self._doubtful: dict[_Key, Change] = {}

    @property
    def doubtful(self) -> list[Change]:
        """What EC2 may have done: its answer was lost, or what it says is not entered yet."""
        return list(self._doubtful.values())

    def doubt(self, changes: Iterable[Change]) -> None:
        """Enter what EC2 may have done."""
        self._doubtful |= {_key(change): change for change in changes}

    def drop_doubtful(self) -> None:
        """Forget what EC2 may have done: it was not done."""
        self._doubtful = {}

    @property
    def settled(self) -> int:
        """How many changes need no further try for now."""
        return len(self.made) + len(self.full) + len(self.without_list)

    def is_news(self, change: Change) -> bool:
        """Whether a change is not entered yet: one whose answer was lost can be found twice."""
        return not _is_one_of(change, self._ids.get(_key(change), ()))

    def enter(self, change: Change) -> None:
        """Enter a change that was made."""
        key = _key(change)
        if (other := self._doubtful.get(key)) and _is_one_of(change, [other.rule_id]):
            del self._doubtful[key]
        if change.now is not None:
            self.full.pop((change.rule.id, change.now), None)
        if self.is_news(change):
            self.made.append(change)
            self._ids[key].add(change.rule_id)

    def enter_refused(self, replacement: Replacement, *, has_room: bool) -> None:
        """Enter what EC2 refused to add: it had no room for it, or no prefix list."""
        refused = self.without_list if has_room else self.full
        refused[replacement.key] = replacement

    def come_true(self, rules: Iterable[Rule]) -> Iterator[Change]:
        """Return the doubtful changes that were made, by the rules as they are now; an added rule has its id."""
        by_id = {rule.id: rule for rule in rules}
        by_match = {rule.match: rule for rule in by_id.values()}
        for change in self.doubtful:
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

    def to_try(self, plan: Plan, rules: Sequence[Rule]) -> Plan:
        """Return what of a plan is to be tried now.

        What found no room is added once a rule was removed, even if the group is closed now. What has no prefix list is
        left out.
        """
        authorize = [each for each in plan.authorize if each.key not in self.without_list]
        if self.made_room:
            existing = {rule.match for rule in rules}
            self.full = {
                key: each for key, each in self.full.items() if Match(each.rule.traffic, each.source) not in existing
            }
            authorize = list({each.key: each for each in (*authorize, *self.full.values())}.values())
        return plan._replace(authorize=authorize)

    def without_full(self, plan: Plan) -> Plan:
        """Return a plan without what has found no room."""
        return plan._replace(authorize=[each for each in plan.authorize if each.key not in self.full])


def _key(change: Change) -> _Key:
    return change.rule.id, change.rule.traffic, change.now


def _is_one_of(change: Change, ids: Collection[str | None]) -> bool:
    """Whether a change may be one of those with the same key that have these ids."""
    return bool(ids) and (change.rule_id is None or None in ids or change.rule_id in ids)
