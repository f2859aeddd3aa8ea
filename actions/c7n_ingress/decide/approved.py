"""Approved changes: the plan that a preview writes, and what of a plan may be done now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from c7n_ingress.decide.plan import Plan, carried_out
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import Match, Network, Rule, Traffic, source_from, text_of, traffic

FILE = "plan.json"
"""What a preview's plan is called, among the run's output."""

VERSION = 1
"""What `v` says of a plan that is as described here."""

NOT_IN_PLAN = "it is open and not in the plan, and stays open"


class Planned(NamedTuple):
    """What becomes of one open rule."""

    traffic: Traffic
    before: str
    """The rule's source."""
    after: frozenset[str]
    """The sources that replace it: by the rule itself, or by rules beside it. None is left of a rule without any."""

    def is_in(self, rules: Collection[tuple[Traffic, str]]) -> bool:
        """Whether all rules are there that replace it."""
        return all((self.traffic, source) in rules for source in self.after)


def plan_of(records: Iterable[Record], **context: str) -> dict[str, Any]:
    """Return the plan that a preview's records make: one entry for each open rule.

    :param context: account, region, policy, run and time.
    """
    changes: dict[tuple[str, str], dict[str, Any]] = {}
    of_rules_first = sorted(records, key=lambda each: each["rule"] is None)  # what is beside a rule has no id yet
    for record in of_rules_first:
        group, rule = record["group"], record["rule"] or record["beside"]
        change = {"group": group, "group_name": record["group_name"], "rule": rule, "traffic": record["traffic"]}
        change = changes.setdefault((group, rule), {**change, "before": record["was"], "after": []})
        change["after"] += [record["now"]] if record["now"] else []
    return {"v": VERSION, **context, "changes": list(changes.values())}


def parse(content: object, account: str, region: str) -> dict[str, dict[str, Planned]]:
    """Read a plan of this account and region: what becomes of each rule, by the ids of group and rule."""
    if not isinstance(content, Mapping) or content.get("v") != VERSION:
        raise ValueError(f"it is not a plan of version {VERSION}: use the {FILE} that a run with preview: true writes")
    for key, here in (("account", account), ("region", region)):
        if content.get(key) != here:
            raise ValueError(f"the plan is of {key} {content.get(key)!r:.80}, and this run is in {here}")
    found: defaultdict[str, dict[str, Planned]] = defaultdict(dict)
    try:
        for change in content["changes"]:
            before, *after = (str(source_from(each)) for each in (change["before"], *change["after"]))
            found[change["group"]][change["rule"]] = Planned(traffic(change["traffic"]), before, frozenset(after))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"change {sum(map(len, found.values())) + 1} of the plan cannot be read: {error!r:.80}"
        ) from None
    return dict(found)


def narrowed(
    planned: Mapping[str, Planned],
    rules: Collection[Rule],
    matches: Collection[Match],
    replace: Callable[..., Plan],
) -> tuple[Plan, list[str]]:
    """Plan what is approved of a group, as long as it is as it was planned, and nothing else.

    :param planned: what is approved, by rule id.
    :param replace: plans the replacement of some matches, if it `may`, see :func:`plan.replacement`.
    :returns: the plan, which leaves what is open and not approved, and refuses what is open and not as planned; and
        what is approved, and neither open any more nor done.
    """
    of_id = {rule.id: rule for rule in rules}
    approved = {rule_id: rule for rule_id, rule in of_id.items() if rule_id in planned and rule.match in matches}
    refused = {
        rule_id: f"not as planned: {rule_id} lets in {text_of(rule.match)} now, and not what the plan says"
        for rule_id, rule in approved.items()
        if (rule.traffic, str(rule.source)) != planned[rule_id][:2]
    }

    def refuse(rule: Rule, sources: Iterable[object]) -> None:
        refused[rule.id] = (
            f"not as planned: {text_of(rule.match)} ({rule.id}) would be replaced by "
            f"{_listed(map(str, sources))} now, and by {_listed(planned[rule.id].after)} in the plan"
        )

    def may(rule: Rule, networks: Sequence[Network]) -> bool:
        """Refuse a rule at once that others than planned would replace: it would be another rule's turn."""
        as_planned = planned[rule.id].after.issuperset(map(str, networks))
        if not as_planned:
            refuse(rule, networks)
        return as_planned

    while True:  # one change less can make another one differ
        going = {rule_id: rule for rule_id, rule in approved.items() if rule_id not in refused}
        plan = replace({rule.match for rule in going.values()}, may=may)
        after = _after(plan)
        there = _there(carried_out(rules, plan))
        others = [each for each in going if each not in after or not planned[each].is_in(there)]
        lacking = [rule_id for rule_id in others if rule_id not in refused]
        if not lacking:
            break
        for rule_id in lacking:
            refuse(going[rule_id], after.get(rule_id, ()))
    every = replace(matches)
    left = [f"{text_of(of_id[each].match)} ({each}): {NOT_IN_PLAN}" for each in _after(every) if each not in approved]
    plan = plan._replace(left=[*every.left, *every.refused, *left], refused=[*refused.values()])
    return plan, unmet(planned, rules, approved)


def unmet(planned: Mapping[str, Planned], rules: Iterable[Rule], approved: Collection[str] = ()) -> list[str]:
    """Return what is planned of a group and not as the plan says now, neither before nor after: one sentence each.

    :param approved: what is going to be done, by rule id.
    """
    rules = list(rules)
    of_id, there = {rule.id: rule for rule in rules}, _there(rules)
    found = []
    for rule_id, each in planned.items():
        rule = of_id.get(rule_id)
        is_done = (rule.traffic == each.traffic and str(rule.source) in each.after) if rule else each.is_in(there)
        if rule_id not in approved and not is_done:
            why = f"({text_of(rule.match)} now) is not open any more, or exempt" if rule else "is gone"
            found.append(f"not as planned: {rule_id} {why}")
    return found


def _after(plan: Plan) -> dict[str, set[str]]:
    """Return which sources replace each rule, by the rule's id."""
    after: dict[str, set[str]] = {rule.id: set() for rule in plan.revoke}
    for rule, source in (*plan.modify, *plan.authorize):
        after.setdefault(rule.id, set()).add(str(source))
    return after


def _there(rules: Iterable[Rule]) -> set[tuple[Traffic, str]]:
    """Return the traffic and the source of each rule."""
    return {(rule.traffic, str(rule.source)) for rule in rules}


def _listed(sources: Iterable[str]) -> str:
    return ", ".join(sorted(sources)) or "nothing"
