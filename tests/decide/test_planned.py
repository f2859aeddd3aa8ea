"""Which plans of approved changes are refused, and what of a plan is done."""

import json
from functools import partial
from unittest.mock import Mock

import pytest

from c7n_ingress.decide.approved import NOT_IN_PLAN, Planned, narrowed, parse, plan_of
from c7n_ingress.decide.plan import Plan, Replacement, replacement
from c7n_ingress.decide.rules import Rule, Traffic, network
from tests.support.cases import cases

SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
HERE = ("123456789012", "us-east-1")
CHANGE = {"group": "sg-1", "rule": "sgr-1", "traffic": SSH, "before": "0.0.0.0/0", "after": ["198.18.7.0/24"]}


def plan(*changes, **more):
    """Return a plan of this account and region."""
    return {"v": 1, "account": HERE[0], "region": HERE[1], "changes": changes, **more}


@pytest.mark.parametrize(
    "case", [case for case in cases("approved")["refused"] if case["plan"] != "no JSON"], ids=lambda case: case["says"]
)
def test_a_bad_plan(case):
    """A plan that is none, or is of another account or region, is refused with the value."""
    with pytest.raises(ValueError, match="plan") as refused:
        parse(json.loads(case["plan"]), *HERE)
    assert case["says"] in str(refused.value)


@pytest.mark.parametrize("bad", [{"before": "a/b"}, {"after": None}, {"traffic": None}, {"rule": []}])
def test_a_change_that_cannot_be_read(bad):
    """The refusal counts the changes, so that a person finds the one."""
    for good in ([], [CHANGE], [CHANGE, CHANGE | {"group": "sg-2"}, CHANGE | {"rule": "sgr-2"}]):
        with pytest.raises(ValueError, match=f"^change {len(good) + 1} of the plan cannot be read: "):
            parse(plan(*good, CHANGE | bad), *HERE)


def test_a_plan():
    """Each rule of each group becomes what the plan says."""
    alone = CHANGE | {"rule": "sgr-2", "before": "::/0", "after": []}
    found = parse(plan(CHANGE, alone, CHANGE | {"group": "sg-2"}), *HERE)
    replaced = Planned(Traffic("tcp", 22, 22), "0.0.0.0/0", frozenset({"198.18.7.0/24"}))
    revoked = Planned(Traffic("tcp", 22, 22), "::/0", frozenset())
    assert found == {"sg-1": {"sgr-1": replaced, "sgr-2": revoked}, "sg-2": {"sgr-1": replaced}}


OFFICE, VPN, LATER = map(network, ("198.18.7.0/24", "198.18.8.0/24", "198.18.9.0/24"))
OPEN = Rule("sgr-1", Traffic("tcp", 22, 22), network("0.0.0.0/0"), None)
HALF = OPEN._replace(source=network("0.0.0.0/1"))
TWIN = OPEN._replace(id="sgr-2", source=OFFICE)
WEB = Rule("sgr-3", Traffic("tcp", 443, 443), OPEN.source, None)
DONE = {"modify": [Replacement(OPEN, OFFICE)], "authorize": [Replacement(OPEN, VPN)]}


def differing(now):
    """Return that the rule would become something else than in the plan."""
    by = f"would be replaced by {now} now, and by 198.18.7.0/24, 198.18.8.0/24 in the plan"
    return {"refused": [f"not as planned: tcp 22 from 0.0.0.0/0 (sgr-1) {by}"]}


SINCE = {
    "nothing": ([OPEN], [OPEN], [OFFICE, VPN], DONE, []),
    "one of its networks was added": (
        [OPEN, TWIN],
        [OPEN],
        [OFFICE, VPN],
        {"modify": [Replacement(OPEN, VPN)]},
        [],
    ),
    "all of its networks were added": (
        [OPEN, TWIN, TWIN._replace(id="sgr-4", source=VPN)],
        [OPEN],
        [OFFICE, VPN],
        {"revoke": [OPEN]},
        [],
    ),
    "another rule was opened": (
        [OPEN, WEB],
        [OPEN, WEB],
        [OFFICE, VPN],
        {**DONE, "left": [f"tcp 443 from 0.0.0.0/0 (sgr-3): {NOT_IN_PLAN}"]},
        [],
    ),
    "one that cannot be replaced was opened": (
        [OPEN, WEB._replace(source="sg-2")],
        [OPEN, WEB._replace(source="sg-2")],
        [OFFICE, VPN],
        {
            **DONE,
            "left": ["tcp 443 from sg-2: no network can replace a reference; narrow the filter by Cidr or CidrV6"],
        },
        [],
    ),
    "it is open in another way": (
        [HALF],
        [HALF],
        [OFFICE, VPN],
        {"refused": ["not as planned: sgr-1 lets in tcp 22 from 0.0.0.0/1 now, and not what the plan says"]},
        [],
    ),
    "it lets in other traffic": (
        [OPEN._replace(traffic=WEB.traffic)],
        [OPEN._replace(traffic=WEB.traffic)],
        [OFFICE, VPN],
        {"refused": ["not as planned: sgr-1 lets in tcp 443 from 0.0.0.0/0 now, and not what the plan says"]},
        [],
    ),
    "another network is authorized": (
        [OPEN],
        [OPEN],
        [OFFICE, LATER],
        differing("198.18.7.0/24, 198.18.9.0/24"),
        [],
    ),
    "one network less is authorized": (
        [OPEN],
        [OPEN],
        [VPN],
        differing("198.18.8.0/24"),
        [],
    ),
    "no network of its family is authorized": (
        [OPEN, TWIN],
        [OPEN],
        [network("2001:2:0:7::/64")],
        differing("nothing"),
        [],
    ),
    "it is gone": ([], [], [OFFICE, VPN], {}, ["is gone"]),
    "it is exempt": (
        [OPEN],
        [],
        [OFFICE, VPN],
        {},
        ["(tcp 22 from 0.0.0.0/0 now) is not open any more, or exempt"],
    ),
    "somebody closed it": (
        [OPEN._replace(source=LATER)],
        [],
        [OFFICE, VPN],
        {},
        ["(tcp 22 from 198.18.9.0/24 now) is not open any more, or exempt"],
    ),
    "it was done": ([OPEN._replace(source=VPN)], [], [OFFICE, VPN], {}, []),
    "it was done for other traffic": (
        [WEB._replace(id="sgr-1", source=VPN)],
        [],
        [OFFICE, VPN],
        {},
        ["(tcp 443 from 198.18.8.0/24 now) is not open any more, or exempt"],
    ),
}


@pytest.mark.parametrize(("rules", "open_now", "authorized", "does", "unmet"), SINCE.values(), ids=SINCE)
def test_what_happened_since_the_preview(rules, open_now, authorized, does, unmet):
    """A rule is replaced as the plan says, or not at all; why not is said, and what else is open is left."""
    planned = {OPEN.id: Planned(OPEN.traffic, "0.0.0.0/0", frozenset({str(OFFICE), str(VPN)}))}
    replace = partial(replacement, rules, authorized=authorized)
    plan, said = narrowed(planned, rules, {rule.match for rule in open_now}, replace)
    expected = Plan([], [], [], [], [], missing=[])._replace(**does)
    assert plan == expected
    assert said == [f"not as planned: sgr-1 {why}" for why in unmet]


def test_a_list_that_cannot_be_read_any_more():
    """A rule of the plan that cannot be replaced now is refused."""
    rule = OPEN._replace(source="pl-1")
    planned = {OPEN.id: Planned(OPEN.traffic, "pl-1", frozenset({str(OFFICE)}))}
    planned[WEB.id] = planned[OPEN.id]
    rules = [rule, WEB]
    matches = {each.match for each in rules}
    plan, said = narrowed(planned, rules, matches, partial(replacement, rules, authorized=[OFFICE]))
    by = "would be replaced by nothing now, and by 198.18.7.0/24 in the plan"
    assert plan.refused == [
        "not as planned: sgr-3 lets in tcp 443 from 0.0.0.0/0 now, and not what the plan says",
        f"not as planned: tcp 22 from pl-1 (sgr-1) {by}",
    ]
    assert said == []


def test_the_plan_of_a_preview():
    """A plan has one entry for each open rule, with the sources of the rules that would be added for it."""
    record = {"group": "sg-1", "group_name": "web", "rule": "sgr-1", "traffic": SSH}
    beside = {**record, "rule": None, "beside": "sgr-1", "was": None, "now": "198.18.8.0/24"}
    becomes = {**record, "was": "0.0.0.0/0", "now": "198.18.7.0/24"}
    gone = {**record, "rule": "sgr-2", "was": "::/0", "now": None}
    context = {"account": HERE[0], "region": HERE[1], "policy": "p"}
    assert plan_of([beside, becomes, gone], **context) == {
        "v": 1,
        **context,
        "changes": [
            {**record, "before": "0.0.0.0/0", "after": ["198.18.7.0/24", "198.18.8.0/24"]},
            {**record, "rule": "sgr-2", "before": "::/0", "after": []},
        ],
    }


def test_rules_of_which_each_would_take_the_place_of_the_one_before():
    """If the rule that was to be replaced was changed, those that were to be removed are refused at once."""
    rules = [OPEN._replace(id=f"sgr-{n}", source=network(f"11.{n}.0.0/16")) for n in range(100)]
    planned = {each.id: Planned(each.traffic, str(each.source), frozenset()) for each in rules}
    planned["sgr-0"] = planned["sgr-0"]._replace(after=frozenset({str(OFFICE)}))
    rules[0] = rules[0]._replace(source=network("12.0.0.0/16"))
    replace = Mock(wraps=partial(replacement, rules, authorized=[OFFICE]))
    plan, _ = narrowed(planned, rules, {rule.match for rule in rules}, replace)
    assert (plan.changes, len(plan.refused), replace.call_count) == (False, 100, 2)
