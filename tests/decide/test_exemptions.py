import random
import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.exemptions import (
    MOST_DAYS,
    TAG,
    Exemption,
    Register,
    by_register,
    by_tag,
    exemption,
    parse_register,
    to_look_at,
)
from c7n_ingress.decide.rules import Traffic
from tests.support.cases import cases

CASES = cases("exemptions")
TODAY, ACCOUNT, REGION = date(2026, 12, 1), "123456789012", "us-east-1"
GROUP = {"GroupId": "sg-00000000000000001", "GroupName": "web-1", "VpcId": "vpc-0a"}
RULES = {
    "tcp 443": Traffic("tcp", 443, 443),
    "udp 443": Traffic("udp", 443, 443),
    "tcp 8000-8010": Traffic("tcp", 8000, 8010),
    "-1": Traffic("-1", -1, -1),
}


def entry(**keys):
    """Return an entry with what every entry has."""
    return {"until": "2027-01-01", "reason": "a reason", **keys}


def stay_open(entries):
    """Return the names of the rules that entries exempt."""
    found = Register(parse_register(entries), ACCOUNT, REGION, TODAY).of_group(GROUP)
    return {name for name, traffic in RULES.items() if by_register(found, traffic)}


@pytest.mark.parametrize("case", CASES["register"], ids=lambda case: case["name"])
def test_the_register(case):
    """Exactly the rules that an entry names stay open."""
    assert stay_open([entry(**each) for each in case["entries"]]) == set(map(str, case["open"]))


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["says"])
def test_a_bad_entry(case):
    """A bad entry is refused with its number, the value and the fix, in one line."""
    with pytest.raises(ValueError, match=re.escape(case["says"])) as refused:
        parse_register(case["entries"])
    assert "\n" not in str(refused.value)


ENTRIES = st.lists(
    st.builds(
        entry,
        group=st.sampled_from(["web-1", "web-2", "web-*", "sg-00000000000000001", "sg-00000000000000002", "*-1"]),
        ports=st.none() | st.lists(st.sampled_from([443, "tcp/443", "udp/443", "8000-8010", 22]), min_size=1),
        until=st.integers(-3, 3).map(lambda days: (TODAY + timedelta(days)).isoformat()),
        account=st.sampled_from([None, ACCOUNT, "210987654321"]),
        region=st.sampled_from([None, REGION, "eu-west-1"]),
        vpc=st.sampled_from([None, "vpc-0a", "vpc-0b"]),
    ),
    max_size=8,
)


def names(one, rule):
    """Whether an entry names a rule of the group, found without the code under test."""
    group = one["group"] in ("web-1", "web-*", "*-1", GROUP["GroupId"])
    place = one["account"] in (None, ACCOUNT) and one["region"] in (None, REGION) and one["vpc"] in (None, "vpc-0a")
    protocol, _, ports = rule.partition(" ")
    written = {f"{protocol}/{ports}", ports} if protocol in ("tcp", "udp") else set()
    return (
        group
        and place
        and one["until"] > TODAY.isoformat()
        and (one["ports"] is None or not written.isdisjoint(map(str, one["ports"])))
    )


@given(ENTRIES)
def test_no_other_rule_stays_open(entries):
    """A register exempts a rule if, and only if, one of its entries names it."""
    assert stay_open(entries) == {rule for rule in RULES if any(names(each, rule) for each in entries)}


@given(ENTRIES, st.randoms())
def test_the_order_of_entries(entries, shuffle):
    """The order of entries changes neither what stays open nor until when."""

    def until(some):
        found = Register(parse_register(some), ACCOUNT, REGION, TODAY).of_group(GROUP)
        return [each and each.until for each in (by_register(found, traffic) for traffic in RULES.values())]

    mixed = list(entries)
    shuffle.shuffle(mixed)
    assert until(mixed) == until(entries)


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ("2026-12-02", True),
        ((TODAY + timedelta(MOST_DAYS)).isoformat(), True),
        ((TODAY + timedelta(MOST_DAYS + 1)).isoformat(), False),
        ("2026-12-01", False),
        ("2026-11-30", False),
        ("2026-12-2", False),
        ("20261202", False),
        ("never", False),
        ("2026-12-02 ", False),
        ("", False),
    ],
)
def test_the_tag(value, counts):
    """A tag exempts a group until a day ahead, 90 days at most; any other text exempts nothing."""
    group = {**GROUP, "Tags": [{"Key": "Name", "Value": "2026-12-02"}, {"Key": TAG, "Value": value}]}
    assert (by_tag(group, TODAY) is not None) == counts
    assert exemption(group, [], RULES["-1"], TODAY) == by_tag(group, TODAY)


def test_the_tag_comes_before_the_register():
    """Where both exempt a rule, the tag says until when."""
    group = {**GROUP, "Tags": [{"Key": TAG, "Value": "2026-12-24"}]}
    entries = Register(parse_register([entry(group="web-1")]), ACCOUNT, REGION, TODAY).of_group(group)
    assert exemption(group, entries, RULES["-1"], TODAY).until == "2026-12-24"
    assert exemption(GROUP, entries, RULES["-1"], TODAY).until == "2027-01-01"


def test_the_register_exempts_the_ports_that_it_names():
    """Without a tag, a rule is exempt if an entry names its ports."""
    entries = Register(parse_register([entry(group="web-1", ports=["tcp/443"])]), ACCOUNT, REGION, TODAY).of_group(
        GROUP
    )
    assert [name for name, traffic in RULES.items() if exemption(GROUP, entries, traffic, TODAY)] == ["tcp 443"]


def test_of_several_entries_the_one_that_ends_last_says_why():
    """Of several entries, the one that ends last says why a rule stays open; of those, the first in the register."""
    texts = [{"reason": f"reason {n}", "owner": f"owner {n}", "ticket": f"OPS-{n}"} for n in range(4)]
    days = ["2026-12-24", "2027-01-01", "2027-01-01", "2026-12-31"]
    entries = [entry(group="web-1", **each, until=day) for each, day in zip(texts, days, strict=True)]
    found = Register(parse_register(entries), ACCOUNT, REGION, TODAY).of_group(GROUP)
    for some in (found, found[::-1]):
        assert by_register(some, RULES["-1"]) == Exemption("2027-01-01", "reason 1", "owner 1", "OPS-1")
    assert by_register([], RULES["-1"]) is None


def test_many_entries_look_up_what_few_do():
    """Of 500 entries with patterns and ids, those that are for a group are found."""
    some = [entry(group=f"app-{number}-*") for number in range(250)] + [
        entry(group=f"sg-{number:017x}") for number in range(250)
    ]
    random.Random(7).shuffle(some)
    register = Register(parse_register(some), ACCOUNT, REGION, TODAY)
    group = {"GroupId": f"sg-{249:017x}", "GroupName": "app-17-blue", "VpcId": "vpc-0a"}
    assert sorted(each.group for each in register.of_group(group)) == ["app-17-*", f"sg-{249:017x}"]


@pytest.mark.parametrize(
    ("named", "is_for"),
    [("app[1]", ["app[1]", "app1"]), ("web*", ["web*", "web-1"]), ("is it?", ["is it?", "is it!"])],
)
def test_a_name_with_the_signs_of_a_pattern(named, is_for):
    """An entry is for the group of exactly its name, too: EC2 allows the signs of a pattern in a name."""
    register = Register(parse_register([entry(group=named)]), ACCOUNT, REGION, TODAY)
    names = ["app[1]", "app1", "app[1]b", "web*", "web-1", "is it?", "is it!"]
    assert [name for name in names if register.of_group({**GROUP, "GroupName": name})] == is_for


TO_LOOK_AT = [
    ({"until": "2026-12-02", "owner": "web"}, True, {"owner": "web", "why": "ends in 1 day"}),
    ({"until": "2026-12-15", "ticket": "OPS-7"}, True, {"ticket": "OPS-7", "why": "ends in 14 days"}),
    ({"until": "2026-12-16"}, True, None),
    (
        {"account": ACCOUNT},
        False,
        {"account": ACCOUNT, "why": "matches nothing that is open here"},
    ),
    ({"since": "2026-06-04", "group": "web-1"}, True, None),
    (
        {"since": "2026-06-03", "group": "web-1", "region": REGION},
        True,
        {"region": REGION, "group": "web-1", "why": "made 181 days ago"},
    ),
    (
        {"until": "2026-12-03", "since": "2020-12-01"},
        False,
        {"why": "ends in 2 days, matches nothing that is open here, made 2191 days ago"},
    ),
]


@pytest.mark.parametrize(("keys", "is_used", "texts"), TO_LOOK_AT, ids=range(len(TO_LOOK_AT)))
def test_what_is_in_the_digest(keys, is_used, texts):
    """An entry is in the digest if it ends within 14 days, matches nothing, or was made more than 180 days ago."""
    entries = parse_register([entry(vpc="vpc-0a", **keys)])
    expected = {"number": 1, "vpc": "vpc-0a", "reason": "a reason", "until": entries[0].until.isoformat()}
    assert to_look_at(entries, {1} if is_used else set(), TODAY) == ([expected | texts] if texts else [])


def test_what_ends_first_comes_first():
    """The digest's entries are in the order of their ends, and of their places in the register."""
    entries = parse_register([entry(group="web", until=f"2026-12-{day}") for day in ("04", "03", "04", "02")])
    assert [each["number"] for each in to_look_at(reversed(entries), {}, TODAY)] == [4, 2, 1, 3]


KEYS = "account, region, vpc, group, ports, until, reason, since, owner, ticket"
REFUSALS = [
    ({"group": "web", "reason": True}, "reason True is not a text"),
    ({"group": "web", "owner": ["a", "b"]}, "owner ['a', 'b'] is not a text"),
    ({"group": "web", "grup": "x"}, f"'grup' is not a key: use {KEYS}"),
    ({"reason": "a shop"}, "it names nothing, so it would exempt every group: add account, region, vpc or group"),
    ({"group": "web", "until": ""}, "it has no until: an exemption needs a day on which it ends, and a reason"),
    ({"group": "web", "until": "soon"}, "until 'soon' is not a day: write YYYY-MM-DD, such as 2027-01-31"),
    ({"account": 1234}, "account '1234' is not an account id of 12 digits, in quotes"),
    ({"region": "us"}, "region 'us' is not a region such as us-east-1"),
    ({"vpc": "web"}, "vpc 'web' is not a VPC id such as vpc-0123456789abcdef0"),
]


@pytest.mark.parametrize(("keys", "says"), REFUSALS, ids=[says for _, says in REFUSALS])
def test_what_is_wrong_with_an_entry(keys, says):
    """A refusal names the entry, the value and the fix."""
    with pytest.raises(ValueError, match=r".") as refused:
        parse_register([entry(group="web"), entry(**keys)])
    assert str(refused.value) == f"exemptions, entry 2: {says}"
    with pytest.raises(ValueError, match=rf"^exemptions, entry 1: 'web' is not a mapping of {KEYS}$"):
        parse_register(["web"])
