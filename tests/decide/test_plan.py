from functools import partial
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.approved import Planned, narrowed, parse, plan_of
from c7n_ingress.decide.plan import (
    TOGETHER,
    UNANSWERED_LIST,
    UNREADABLE_LIST,
    Plan,
    Replacement,
    carried_out,
    replacement,
)
from c7n_ingress.decide.records import Change, record_of
from c7n_ingress.decide.rules import Match, Rule, Traffic, text_of
from tests.support.search import examples

TRAFFIC = [
    Traffic("tcp", 22, 22),
    Traffic("tcp", 443, 443),
    Traffic("tcp", 0, 65535),
    Traffic("udp", 53, 53),
    Traffic("icmp", -1, -1),
    Traffic("icmpv6", -1, -1),
    Traffic("-1", -1, -1),
    Traffic("50", -1, -1),
]
OPEN = [ip_network(text) for text in ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "2000::/3")]
AUTHORIZED = [
    ip_network(text)
    for text in ("198.18.7.0/24", "198.18.8.0/24", "198.19.0.0/16", "10.0.0.0/8", "2001:2:0:7::/64", "2001:2:0:8::/64")
]
PREFIX_LISTS = {"pl-0004": 4, "pl-0006": 6, "pl-hidden": None, "pl-silent": "EC2 is out of order"}
REFERENCES = [*PREFIX_LISTS, "pl-other", "sg-0123"]

matches = st.builds(Match, st.sampled_from(TRAFFIC), st.sampled_from([*OPEN, *AUTHORIZED, *REFERENCES]))


@st.composite
def groups(draw):
    """Return rules as EC2 allows them (no two alike), what a filter matched, authorized networks and open lists."""
    found = draw(st.lists(matches, unique=True, max_size=40))
    texts = draw(st.lists(st.none() | st.sampled_from(["ssh", "web"]), min_size=len(found), max_size=len(found)))
    rules = [Rule(f"sgr-{n}", m.traffic, m.source, text) for n, (m, text) in enumerate(zip(found, texts, strict=True))]
    matched = {rule.match for rule in rules if draw(st.booleans())}
    authorized = draw(st.lists(st.sampled_from(AUTHORIZED), unique=True, min_size=1, max_size=5))
    return rules, matched, authorized, PREFIX_LISTS


def stages(rules, todo):
    """Return the group's rules before, between and after the plan's calls, as EC2 would carry them out."""
    yield list(rules)
    rules = [
        *rules,
        *(Rule(f"new-{n}", r.traffic, network, r.description) for n, (r, network) in enumerate(todo.authorize)),
    ]
    yield rules
    becomes = {rule.id: network for rule, network in todo.modify}
    rules = [rule._replace(source=becomes.get(rule.id, rule.source)) for rule in rules]
    yield rules
    gone = {rule.id for rule in todo.revoke}
    yield [rule for rule in rules if rule.id not in gone]


def opened(rules, matched, authorized):
    """Return the matched rules that are to be replaced."""
    return [
        rule
        for rule in rules
        if rule.match in matched
        and version_of(rule)
        and rule.source not in authorized
        and not is_widened(rule, authorized)
    ]


def is_widened(rule, authorized):
    """Whether every network of the rule's family is wider than its source."""
    family = [network for network in authorized if network.version == version_of(rule)]
    return bool(family) and all(
        not isinstance(rule.source, str) and network.prefixlen < rule.source.prefixlen for network in family
    )


def version_of(rule):
    """Return the IP version of what a rule is open to, None for a reference to what nobody knows."""
    version = PREFIX_LISTS.get(rule.source) if isinstance(rule.source, str) else rule.source.version
    return None if isinstance(version, str) else version


many = examples(50)


@many
@given(groups())
def test_nothing_matched_stays_open(case):
    """After the plan, no network that the filter matched is let in, but for those that are authorized."""
    rules, matched, authorized, _ = case
    *_, after = stages(rules, replacement(*case))
    assert opened(after, matched, authorized) == []


@many
@given(groups())
def test_the_unmatched_is_untouched(case):
    """A rule that the filter did not match stays as it is: id, traffic, source and description."""
    rules, matched, *_ = case
    *_, after = stages(rules, replacement(*case))
    assert [rule for rule in rules if rule.match not in matched and rule not in after] == []


@many
@given(groups())
def test_everybody_authorized_gets_in(case):
    """Where an open rule was, every authorized network of its family that is no wider is let in, too."""
    rules, matched, authorized, _ = case
    *_, after = stages(rules, replacement(*case))
    standing = {rule.match for rule in after}
    for rule in opened(rules, matched, authorized):
        for network in authorized:
            wider = not isinstance(rule.source, str) and network.prefixlen < rule.source.prefixlen
            assert network.version != version_of(rule) or wider or Match(rule.traffic, network) in standing


@many
@given(groups())
def test_a_rule_lives_on(case):
    """A rule is revoked only where each authorized network of its family has a rule of its own; a reference always."""
    rules, matched, authorized, _ = case
    todo = replacement(*case)
    planned = {Match(r.traffic, network) for r, network in [*todo.modify, *todo.authorize]}
    standing = {rule.match for rule in rules} | planned
    for rule in todo.revoke:
        family = [network for network in authorized if network.version == version_of(rule)]
        narrow = [n for n in family if isinstance(rule.source, str) or n.prefixlen >= rule.source.prefixlen]
        assert all(Match(rule.traffic, network) in standing for network in narrow)
    assert {rule.id for rule in todo.revoke} | {rule.id for rule, _ in todo.modify} == {
        rule.id for rule in opened(rules, matched, authorized)
    }
    assert not any(isinstance(rule.source, str) for rule, _ in todo.modify), "EC2 makes no network of a prefix list"


LEFT_ALONE = [
    ("sg-0123", {}, "refused", "no network can replace a reference; narrow the filter by Cidr or CidrV6"),
    ("pl-1", {"pl-1": None}, "left", UNREADABLE_LIST),
    ("pl-1", {"pl-1": "EC2 is out of order"}, "refused", f"{UNANSWERED_LIST} (EC2 is out of order)"),
    (
        ip_network("203.0.0.0/13"),
        {},
        "refused",
        "198.16.0.0/12 is wider than what it would replace; authorize a narrower network, or narrow the filter",
    ),
]


@pytest.mark.parametrize(("source", "lists", "how", "why"), LEFT_ALONE, ids=["reference", "list", "answer", "wider"])
def test_what_cannot_be_replaced(source, lists, how, why):
    """A rule that cannot be replaced is left alone with the reason, and the rules after it are replaced."""
    rules = [Rule("sgr-1", TRAFFIC[0], source, None), Rule("sgr-2", TRAFFIC[1], ip_network("0.0.0.0/0"), None)]
    authorized = [ip_network("198.16.0.0/12")]
    plan = Plan([], [Replacement(rules[1], authorized[0])], [], [], [], missing=[])
    expected = plan._replace(**{how: [f"{text_of(rules[0].match)}: {why}"]})
    assert replacement(rules, [rule.match for rule in rules], authorized, lists) == expected


def test_a_network_that_is_as_wide():
    """A rule becomes one for a network that is as wide as its own."""
    rule = Rule("sgr-1", TRAFFIC[0], ip_network("203.0.0.0/12", strict=False), None)
    authorized = [ip_network("198.16.0.0/12")]
    assert replacement([rule], [rule.match], authorized).modify == [Replacement(rule, authorized[0])]


def test_an_open_rule_becomes_another_rather_than_a_prefix_list():
    """Of a prefix list and a network that are open for the same ports, the network's rule lives on."""
    rules = [Rule("sgr-1", TRAFFIC[0], "pl-0004", None), Rule("sgr-2", TRAFFIC[0], ip_network("0.0.0.0/0"), None)]
    todo = replacement(rules, [rule.match for rule in rules], AUTHORIZED[:1], PREFIX_LISTS)
    assert (todo.modify, todo.revoke, todo.authorize) == ([Replacement(rules[1], AUTHORIZED[0])], [rules[0]], [])


def test_an_authorized_network_that_is_open_with_others():
    """An authorized network that keeps the group open together with other sources is reported, each rule of it."""
    eighths = [ip_network(f"{first}.0.0.0/8") for first in range(11, 100)]
    rules = [Rule("sgr-list", TRAFFIC[1], "pl-0004", None), Rule("sgr-22", TRAFFIC[0], eighths[1], None)]
    rules += [Rule(f"sgr-{number}", TRAFFIC[1], each, None) for number, each in enumerate(eighths)]
    authorized = [eighths[3], eighths[1]]
    todo = replacement(rules, [], authorized, PREFIX_LISTS)
    assert todo.left == [f"{text_of(rules[number].match)}: {TOGETHER}" for number in (3, 5)]


def test_what_a_plan_leaves_behind():
    """A plan's rules are removed, changed and added; what is added has no id yet."""
    rules = [Rule(f"sgr-{port}", Traffic("tcp", port, port), ip_network("0.0.0.0/0"), "text") for port in (1, 2, 3)]
    added, changed = Replacement(rules[1], AUTHORIZED[0]), Replacement(rules[1], AUTHORIZED[1])
    assert carried_out(rules, Plan([added], [changed], [rules[0]])) == [
        rules[1]._replace(source=AUTHORIZED[1]),
        rules[2],
        Rule("", rules[1].traffic, AUTHORIZED[0], "text"),
    ]


@many
@given(groups())
def test_families_stay_apart(case):
    """An IPv4 network takes the place of what is open to IPv4, and an IPv6 network that of IPv6."""
    todo = replacement(*case)
    assert [
        (rule, network) for rule, network in [*todo.modify, *todo.authorize] if network.version != version_of(rule)
    ] == []


@many
@given(groups())
def test_no_moment_locks_out_or_opens_up(case):
    """Between any two calls, no authorized source has gone, none has come that is neither old nor authorized."""
    rules, _, authorized, _ = case
    before = {rule.match for rule in rules}
    held = set()
    for stage in stages(rules, replacement(*case)):
        now = {rule.match for rule in stage}
        assert len(now) == len(stage), "EC2 refuses two rules alike: InvalidPermission.Duplicate"
        assert held <= now
        assert all(match in before or match.source in authorized for match in now)
        held = {match for match in now if match.source in authorized}


@many
@given(groups())
def test_a_second_run_changes_nothing(case):
    """Planned again, the group as it is afterwards needs no change."""
    rules, matched, authorized, _ = case
    *_, after = stages(rules, replacement(*case))
    still = {rule.match for rule in after} & matched
    again = replacement(after, still, authorized, PREFIX_LISTS)
    assert (again.authorize, again.modify, again.revoke) == ([], [], [])


@many
@given(groups())
def test_what_is_not_there_is_reported(case):
    """A match that no rule answers to, a list whose entries are not known, and any other reference are returned."""
    rules, matched, authorized, _ = case
    absent = Match(Traffic("tcp", 9, 9), OPEN[0])
    todo = replacement(rules, matched | {absent}, authorized, PREFIX_LISTS)
    assert todo.missing == [absent]
    assert todo.look_again
    unknown = [rule for rule in rules if rule.match in matched and version_of(rule) is None]
    assert len(todo.left) == sum(rule.source == "pl-hidden" for rule in unknown)
    widened = [
        rule
        for rule in rules
        if rule.match in matched and version_of(rule) and rule.source not in authorized and is_widened(rule, authorized)
    ]
    assert len(todo.refused) == sum(rule.source != "pl-hidden" for rule in unknown) + len(widened)
    silent = sum(rule.source == "pl-silent" for rule in unknown)
    assert sum(text.endswith("(EC2 is out of order)") for text in todo.refused) == silent


@many
@given(groups())
def test_nothing_gets_wider(case):
    """No rule becomes one for a wider network than its own, and none is added for its sake."""
    todo = replacement(*case)
    assert all(
        isinstance(rule.source, str) or network.prefixlen >= rule.source.prefixlen
        for rule, network in [*todo.modify, *todo.authorize]
    )


@many
@given(groups())
def test_a_plan_carried_out(case):
    """What a plan leaves is predicted as EC2 makes it."""
    rules, *_ = case
    todo = replacement(*case)
    *_, after = stages(rules, todo)
    assert [rule._replace(id="") for rule in carried_out(rules, todo)] == [rule._replace(id="") for rule in after]


def test_one_network_a_family_takes_one_call():
    """With one network a family, no twins and no two open rules alike, each open rule is modified and that is all."""
    rules = [Rule("sgr-1", TRAFFIC[0], OPEN[0], "ssh"), Rule("sgr-2", TRAFFIC[0], OPEN[3], "ssh")]
    todo = replacement(rules, {rule.match for rule in rules}, [AUTHORIZED[0], AUTHORIZED[4]])
    assert todo == Plan(
        [], [(rules[0], AUTHORIZED[0]), (rules[1], AUTHORIZED[4])], [], [], [], look_again=False, missing=[]
    )


def test_preference_decides_what_a_rule_becomes():
    """An open rule becomes a rule for the first authorized network that has none yet; the others are added."""
    ssh = TRAFFIC[0]
    rules = [Rule("sgr-1", ssh, OPEN[0], "ssh"), Rule("sgr-2", ssh, AUTHORIZED[1], None)]
    todo = replacement(rules, {rules[0].match}, [AUTHORIZED[1], AUTHORIZED[2], AUTHORIZED[0]])
    assert todo.modify == [(rules[0], AUTHORIZED[2])]
    assert todo.authorize == [(rules[0], AUTHORIZED[0])]


GROUP = {"GroupId": "sg-1", "GroupName": "web"}
PLACE = {"account": "123456789012", "region": "us-east-1"}


def foreseen(rules, matched, authorized, lists):
    """Return the plan of a preview, as a run reads it."""
    plan = replacement(rules, matched, authorized, lists)
    changes = [
        *(Change("preview", None, rule, None, source) for rule, source in plan.authorize),
        *(Change("preview", rule.id, rule, rule.source, source) for rule, source in plan.modify),
        *(Change("preview", rule.id, rule, rule.source, None) for rule in plan.revoke),
    ]
    made = plan_of([record_of(each, each.how, GROUP) for each in changes], **PLACE)
    return parse(made, *PLACE.values()).get("sg-1", {})


def touched(plan):
    """Return the ids of the rules that a plan changes, or adds rules for."""
    return {rule.id for rule in (*plan.revoke, *(rule for rule, _ in (*plan.modify, *plan.authorize)))}


@given(groups())
def test_a_plan_that_is_still_as_it_was(group):
    """A whole plan is carried out as if nothing had been planned."""
    rules, matched, authorized, lists = group
    approved = foreseen(*group)
    plan, unmet = narrowed(
        approved, rules, matched, partial(replacement, rules, authorized=authorized, prefix_lists=lists)
    )
    whole = replacement(rules, matched, authorized, lists)
    assert (list(plan.authorize), list(plan.modify), list(plan.revoke)) == (whole.authorize, whole.modify, whole.revoke)
    assert unmet == []


@examples(100)
@given(groups(), st.data())
def test_no_rule_outside_of_the_plan_changes(group, data):
    """Whatever happened since the preview, only rules of the plan change, and only into what it says."""
    rules, matched, authorized, lists = group
    approved = foreseen(*group)
    if approved:
        kept = data.draw(st.sets(st.sampled_from(sorted(approved))))
        approved = {rule_id: each for rule_id, each in approved.items() if rule_id in kept}
    some = st.sampled_from([rule.id for rule in rules] or ["none"])
    gone = data.draw(st.sets(some))
    others = data.draw(st.dictionaries(some, st.sampled_from([*OPEN, *AUTHORIZED])))
    now = {}
    for rule in rules:  # EC2 has no two rules alike
        later = rule._replace(source=others.get(rule.id, rule.source))
        if rule.id not in gone:
            now.setdefault(later.match, later)
    rules = list(now.values())
    matched = {rule.match for rule in rules if rule.source in OPEN or rule.match in matched}
    authorized = data.draw(st.lists(st.sampled_from(AUTHORIZED), unique=True, min_size=1, max_size=5))
    plan, unmet = narrowed(
        approved, rules, matched, partial(replacement, rules, authorized=authorized, prefix_lists=lists)
    )
    assert touched(plan) <= approved.keys()
    of_id = {rule.id: rule for rule in rules}
    assert all(str(source) in approved[rule.id].after for rule, source in (*plan.modify, *plan.authorize))
    assert all(str(of_id[rule_id].source) == approved[rule_id].before for rule_id in touched(plan))
    after = carried_out(rules, plan)
    assert [rule for rule in after if rule.id and rule.id not in approved] == [
        rule for rule in rules if rule.id not in approved
    ]
    said = " ".join([*plan.left, *plan.refused, *unmet])
    there = {(rule.traffic, str(rule.source)) for rule in rules}
    done = {rule.id for rule in rules if rule.id in approved and str(rule.source) in approved[rule.id].after}
    removed = {rule_id: each for rule_id, each in approved.items() if rule_id not in of_id}
    done |= {key for key, each in removed.items() if all((each.traffic, source) in there for source in each.after)}
    assert all(rule_id in said for rule_id in approved.keys() - touched(plan) - done)


def test_a_change_that_depends_on_another_one():
    """A rule is not removed while the rule that would hold its networks is missing."""
    authorized, lists, traffic = AUTHORIZED[:1], {}, Traffic("tcp", 22, 22)
    rules = [Rule("sgr-1", traffic, OPEN[0], None), Rule("sgr-2", traffic, OPEN[1], None)]
    matched = {rule.match for rule in rules}
    approved = foreseen(rules, matched, authorized, lists)
    assert approved["sgr-2"] == Planned(traffic, "0.0.0.0/1", frozenset())
    del approved["sgr-1"]
    plan, unmet = narrowed(
        approved, rules, matched, partial(replacement, rules, authorized=authorized, prefix_lists=lists)
    )
    assert (touched(plan), unmet) == (set(), [])
    (refused,) = plan.refused
    assert refused.endswith("(sgr-2) would be replaced by 198.18.7.0/24 now, and by nothing in the plan")
