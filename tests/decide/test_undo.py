import json
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.plan import Plan, Replacement, carried_out, replacement
from c7n_ingress.decide.records import Change, Entry, Unreadable, entries, record_of
from c7n_ingress.decide.rules import Match, Rule, Traffic, network
from c7n_ingress.decide.undo import PERHAPS, exemption, fold, restoration
from tests.support.search import examples

ACCOUNT, REGION = "123456789012", "us-east-1"
GROUP = {"GroupId": "sg-0123", "GroupName": "a group", "VpcId": "vpc-0123"}
NETWORKS = [network(text) for text in ("198.18.7.0/24", "198.18.8.0/24", "10.0.0.0/9", "2001:2:0:7::/64")]
OPEN = [network(text) for text in ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "2000::/3")]
LISTS = {"pl-0123": 4, "pl-0456": 6}
TRAFFIC = [Traffic("tcp", 22, 22), Traffic("tcp", 443, 443), Traffic("-1", -1, -1), Traffic("icmp", 3, 4)]
MOST_LOOKS = 4
"""How often a group is planned at most: as often as the run plans it."""

properties = examples(50)
sources = st.sampled_from([*NETWORKS, *OPEN, *LISTS])
traffics = st.sampled_from(TRAFFIC)
times = st.integers(0, 3).map(lambda second: datetime(2026, 1, 1, 0, 0, second, tzinfo=timezone.utc))  # a run has few
rule_ids = st.sampled_from([f"sgr-{number}" for number in range(6)])


@st.composite
def groups(draw, most=8):
    """Return rules, no two of them equal."""
    matches = draw(st.lists(st.builds(Match, traffics, sources), unique=True, max_size=most))
    texts = st.none() | st.sampled_from(["ssh", "web"])
    tags = st.sampled_from([(), (("owner", "web"),)])
    return [Rule(f"sgr-{number}", *match, draw(texts), draw(tags)) for number, match in enumerate(matches)]


@st.composite
def written(draw):
    """Return a record that says anything that a record can say."""
    was, now = draw(st.tuples(sources, sources).filter(lambda two: type(two[0]) is type(two[1])))
    was, now = draw(st.sampled_from([(was, now), (None, now), (was, None)]))
    beside = draw(rule_ids) if was is None else None
    return Entry(draw(times), "a run", "sg-0123", draw(rule_ids), draw(traffics), was, now, "ssh", (), beside)


class House:
    """A group whose rules the pack and people change, and the journal of the pack's changes."""

    def __init__(self, rules):
        self.rules = rules
        self.records = []
        self.born = len(rules)

    def do(self, plan, *, recorded=True):
        """Carry a plan out as EC2 does, and record it."""
        changes = [Change("modified", rule.id, rule, rule.source, source) for rule, source in plan.modify]
        changes += [Change("revoked", rule.id, rule, rule.source, None) for rule in plan.revoke]
        after = carried_out(self.rules, plan)
        assert len({rule.match for rule in after}) == len(after), "two rules are alike"
        kept = after[: len(after) - len(plan.authorize)]
        for rule, source in plan.authorize:
            self.born += 1
            added = Rule(f"sgr-new-{self.born}", rule.traffic, source, rule.description)
            if source == rule.source:  # comes back
                added = added._replace(tags=rule.tags)
            changes.append(Change("authorized", added.id, rule, None, source))
            kept.append(added)
        self.rules = kept
        for change in changes if recorded else ():
            time = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=len(self.records))
            said = {"run": "a run", "account": ACCOUNT, "region": REGION, "policy": "p", "time": f"{time:%FT%T.%fZ}"}
            self.records.append(record_of(change, change.how, GROUP, **said))

    def replace(self, authorized):
        """Close what is open, for some networks."""
        matches = {rule.match for rule in self.rules if rule.source in OPEN or rule.source in LISTS}
        self.do(replacement(self.rules, matches, authorized, LISTS))

    @property
    def nets(self):
        """What the journal comes to, read from its lines."""
        return fold(entries(map(json.dumps, self.records), ACCOUNT, REGION))

    @property
    def plans(self):
        """Restore to the end, and return each plan before it is carried out."""
        for _ in range(MOST_LOOKS):
            plan = restoration(self.rules, self.nets)
            yield plan
            self.do(plan, recorded=False)
            if not plan.look_again:
                return

    @property
    def sight(self):
        """What can be seen of the rules but for their ids."""
        return sorted(((rule.match, rule.description, rule.tags) for rule in self.rules), key=repr)


authorized = st.lists(st.sampled_from(NETWORKS), unique=True, min_size=1)


@properties
@given(groups(), authorized)
def test_what_was_replaced_comes_back(rules, networks):
    """Replaced and restored, a group is as it was: sources, descriptions and tags, and ids but of what was revoked."""
    house = House(rules)
    before = house.sight
    house.replace(networks)
    revoked = {record["rule"] for record in house.records if record["how"] == "revoked"}
    for _ in house.plans:
        pass
    assert house.sight == before
    assert {rule.id for rule in rules} - revoked <= {rule.id for rule in house.rules}
    assert restoration(house.rules, house.nets)._replace(back=()) == Plan([], [], [], [])


@properties
@given(groups(), authorized, authorized, st.data())
def test_replaced_twice_with_a_person_in_between(rules, first, second, data):
    """Replaced again after a person reopened some: the second run can be undone alone, both open nothing new."""
    house = House(rules)
    house.replace(first)
    for rule in house.rules:
        open_again = data.draw(st.sampled_from([None, *OPEN]), label=rule.id)
        others = {other.match for other in house.rules if other is not rule}
        if open_again and type(open_again) is type(rule.source) and Match(rule.traffic, open_again) not in others:
            house.rules = [r._replace(source=open_again) if r.id == rule.id else r for r in house.rules]
    before, number = house.rules, len(house.records)
    house.replace(second)
    both = House(house.rules)
    both.records = house.records
    both.born = house.born
    house.records = house.records[number:]
    for _ in house.plans:
        pass
    assert house.sight == House(before).sight
    assert restoration(house.rules, house.nets)._replace(back=()) == Plan([], [], [], [])
    for _ in both.plans:
        pass
    known = {rule.match for rule in (*rules, *before)}
    assert {rule.match for rule in both.rules if rule.source in OPEN} <= known
    assert not restoration(both.rules, both.nets).changes


@properties
@given(groups(), st.lists(written(), max_size=12), st.data())
def test_whatever_the_journal_says(rules, journal, data):
    """No plan makes two rules alike, touches what the journal does not name, or takes what was added too early."""
    house = House(rules)
    nets = fold(journal)
    named = {net.rule for net in nets}
    added = {net.rule: net.beside for net in nets if net.was is None}
    folded = {net.rule: net for net in nets}
    for _ in range(MOST_LOOKS):
        plan = restoration(house.rules, nets)
        assert {rule.id for rule, _ in (*plan.authorize, *plan.modify)} <= named
        assert all(rule.match in {known.match for known in house.rules} for rule, _ in plan.modify)
        for rule in plan.revoke:
            beside = folded[added[rule.id]]
            assert Match(beside.traffic, beside.was) in {each.match for each in house.rules}
        house.do(plan, recorded=False)
        if not plan.look_again:
            break
    assert not restoration(data.draw(st.permutations(house.rules)), nets).changes


@properties
@given(st.lists(written(), max_size=12), st.data())
def test_order_and_duplicates(journal, data):
    """In whatever order records come, and however often, they come to the same."""
    again = data.draw(st.lists(st.sampled_from(journal), max_size=5)) if journal else []
    assert fold(data.draw(st.permutations([*journal, *again]))) == fold(journal)


SSH, OTHER = TRAFFIC[:2]
TAGS = (("owner", "web"),)
CLOSED = Entry(
    datetime(2026, 1, 1, tzinfo=timezone.utc), "a run", "sg-0123", "sgr-1", SSH, OPEN[0], NETWORKS[0], "ssh", TAGS, None
)
LATER = CLOSED._replace(time=CLOSED.time + timedelta(seconds=1))
ADDED = LATER._replace(rule="sgr-2", was=None, now=NETWORKS[1], tags=(), beside="sgr-1")
REMOVED = CLOSED._replace(now=None)
RULE, BESIDE = Rule("sgr-1", SSH, NETWORKS[0], "ssh", TAGS), Rule("sgr-2", SSH, NETWORKS[1], "ssh")
BACK, TWIN = RULE._replace(source=OPEN[0]), Rule("sgr-9", SSH, OPEN[0], None)
AGAIN = {"modify": [Replacement(RULE, OPEN[0])]}
NOW = "tcp 22 from 198.18.7.0/24 (sgr-1): "
RESTORATIONS = {
    "as it was left": ([RULE], [CLOSED], AGAIN),
    "as the last of two records left it": (
        [RULE._replace(source=NETWORKS[1])],
        [LATER._replace(was=NETWORKS[0], now=NETWORKS[1]), CLOSED],
        {"modify": [Replacement(RULE._replace(source=NETWORKS[1]), OPEN[0])]},
    ),
    "opened by a person between two records": (
        [RULE],
        [CLOSED._replace(now=NETWORKS[1]), LATER._replace(was=OPEN[1])],
        {"modify": [Replacement(RULE, OPEN[1])]},
    ),
    "added, and changed by a later record": (
        [BACK, BESIDE],
        [CLOSED, ADDED._replace(time=CLOSED.time, now=OPEN[1]), ADDED._replace(was=OPEN[1], beside=None)],
        {"revoke": [BESIDE], "back": [BACK.match]},
    ),
    "another source": (
        [RULE._replace(source=NETWORKS[1])],
        [CLOSED],
        {"left": ["tcp 22 from 198.18.8.0/24 (sgr-1): changed since it was 0.0.0.0/0"]},
    ),
    "other traffic": (
        [RULE._replace(traffic=OTHER)],
        [CLOSED],
        {"left": ["tcp 443 from 198.18.7.0/24 (sgr-1): changed since it was 0.0.0.0/0"]},
    ),
    "gone": ([], [CLOSED], {"left": [f"{NOW}removed since it was 0.0.0.0/0"]}),
    "another description": (
        [RULE._replace(description=None)],
        [CLOSED],
        {"left": [f"{NOW}its description changed since it was 0.0.0.0/0"]},
    ),
    "no description": (
        [RULE._replace(description=None)],
        [CLOSED._replace(description="")],
        {"modify": [Replacement(RULE._replace(description=None), OPEN[0])]},
    ),
    "other tags": ([RULE._replace(tags=())], [CLOSED], {"left": [f"{NOW}its tags changed since it was 0.0.0.0/0"]}),
    "tags of AWS": (
        [RULE._replace(tags=(*TAGS, ("aws:ec2", "x")))],
        [CLOSED],
        {"modify": [Replacement(RULE._replace(tags=(*TAGS, ("aws:ec2", "x"))), OPEN[0])]},
    ),
    "added for a rule that is back": (
        [BACK, BESIDE],
        [CLOSED, ADDED],
        {"revoke": [BESIDE], "back": [BACK.match]},
    ),
    "added for a rule that is not back": (
        [RULE, BESIDE],
        [CLOSED, ADDED],
        {
            **AGAIN,
            "left": ["tcp 22 from 198.18.8.0/24 (sgr-2): the rule beside which it was added is not back"],
            "look_again": True,
        },
    ),
    "added, and changed by a person": (
        [BACK, BESIDE._replace(description="web")],
        [CLOSED, ADDED],
        {
            "left": ["tcp 22 from 198.18.8.0/24 (sgr-2): its description changed since it was added"],
            "back": [BACK.match],
        },
    ),
    "added, and gone": ([BACK], [CLOSED, ADDED], {"back": [BACK.match]}),
    "removed": ([], [REMOVED], {"authorize": [Replacement(BACK, OPEN[0])]}),
    "removed, without tags": (
        [],
        [REMOVED._replace(tags=())],
        {"authorize": [Replacement(BACK._replace(tags=()), OPEN[0])]},
    ),
    "removed, and back by another id": ([TWIN], [REMOVED], {"back": [BACK.match]}),
    "removed, and there": ([RULE], [REMOVED], {"left": [f"{NOW}the journal has it as removed, and it exists"]}),
    "removed, by records that disagree": (
        [],
        [REMOVED._replace(time=LATER.time), CLOSED._replace(traffic=OTHER)],
        {"left": ["tcp 22 from 0.0.0.0/0 (sgr-1): the journal does not agree on what it let in"]},
    ),
    "another rule like it": (
        [RULE, TWIN],
        [CLOSED],
        {"left": [f"{NOW}it was 0.0.0.0/0, for which there is another rule now"]},
    ),
    "two that were alike": (
        [RULE._replace(id="sgr-2")],
        [REMOVED, CLOSED._replace(rule="sgr-2")],
        {
            "modify": [Replacement(RULE._replace(id="sgr-2"), OPEN[0])],
            "left": ["tcp 22 from 0.0.0.0/0 (sgr-1): it was 0.0.0.0/0, for which there is another rule now"],
            "look_again": True,
        },
    ),
    "perhaps added": (
        [BACK, BESIDE],
        [CLOSED, ADDED._replace(rule=None)],
        {"left": [f"tcp 22 from 198.18.8.0/24: {PERHAPS}"], "back": [BACK.match]},
    ),
    "perhaps added in the same moment, beside one that is not back": (
        [RULE, BESIDE],
        [CLOSED, ADDED._replace(rule=None, time=CLOSED.time)],
        {**AGAIN, "left": [f"tcp 22 from 198.18.8.0/24: {PERHAPS}"], "look_again": True},
    ),
    "one that is back, and one that is not": (
        [BACK._replace(id="sgr-2", traffic=OTHER), RULE],
        [CLOSED, LATER._replace(rule="sgr-2", traffic=OTHER)],
        {**AGAIN, "back": [Match(OTHER, OPEN[0])]},
    ),
    "perhaps added, and not there": ([BACK], [CLOSED, ADDED._replace(rule=None)], {"back": [BACK.match]}),
}


@pytest.mark.parametrize(("rules", "journal", "does"), RESTORATIONS.values(), ids=RESTORATIONS)
def test_what_becomes_of_a_rule(rules, journal, does):
    """A rule is restored if it is as the last record left it; otherwise it is left alone, with the reason."""
    expected = Plan([], [], [], [], back=[])._replace(**does)
    assert restoration(rules, fold(journal)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
RECORD = record_of(
    Change("revoked", "sgr-0", Rule("sgr-0", TRAFFIC[0], OPEN[0], "ssh", (("owner", "web"),)), OPEN[0], None),
    "revoked",
    GROUP,
    run="a run",
    account=ACCOUNT,
    region=REGION,
    policy="p",
    time="2026-11-24T09:00:00.000000Z",
)


@st.composite
def broken(draw):
    """Return a record with fields that are missing, too many or of another type, some in its traffic."""
    record = {**RECORD, "traffic": dict(RECORD["traffic"])}
    keys = st.sampled_from([*RECORD, "beside", "IpProtocol", "FromPort", "ToPort"])
    for key, value in draw(st.dictionaries(keys, st.just("(missing)") | JSON, min_size=1, max_size=3)).items():
        inside = isinstance(record.get("traffic"), dict) and key in ("IpProtocol", "FromPort", "ToPort")
        place = record["traffic"] if inside else record
        place[key] = value
        if value == "(missing)":
            del place[key]
    return json.dumps(record)


@properties
@given(st.lists(broken() | st.text() | JSON.map(json.dumps) | st.just("[" * 100_000) | st.just('{"v":' * 100_000)))
def test_whatever_is_in_a_line(lines):
    """Reading any line returns a record that can be used, or what is wrong with it, or nothing."""
    found = list(entries(lines, ACCOUNT, REGION))
    good = [each for each in found if not isinstance(each, Unreadable)]
    assert len(restoration([], fold(good)).authorize) <= len(good)
    assert all(text.isprintable() for text in (repr(each) for each in found))


@properties
@given(
    st.integers(0, len(json.dumps(RECORD))),
    st.sampled_from(["", "2026-11-24 09:00:00,000 - custodian.journal - INFO - "]),
)
def test_a_line_that_was_cut(length, prefix):
    """An incomplete record is not used, and is reported if its beginning is long enough to show that it is one."""
    whole = json.dumps(RECORD)
    found = list(entries([prefix + whole[:length]], ACCOUNT, REGION))
    if length == len(whole):
        assert [each.rule for each in found] == ["sgr-0"]
    else:
        reported = [Unreadable(None, "an incomplete record")] if length >= len('{"v": 1') else []
        assert found == reported or length < len('{"v": 1')


@given(st.lists(st.sampled_from(["sgr-1", "sgr-2", "sgr-3"]), min_size=1))
@examples(30)
def test_what_was_changed_last(order):
    """Of several rules, the one that was changed last comes first."""
    start = datetime(2026, 11, 24, tzinfo=timezone.utc)
    anybody, own = network("0.0.0.0/0"), network("198.18.7.0/24")
    journal = [
        Entry(
            start + timedelta(minutes=n), "a run", "sg-0123", rule, Traffic("tcp", 22, 22), anybody, own, None, (), None
        )
        for n, rule in enumerate(order)
    ]
    assert [net.rule for net in fold(journal)] == list(dict.fromkeys(reversed(order)))


@pytest.mark.parametrize(
    ("present", "until"),
    [
        (None, "2026-12-31"),
        ("2026-12-30", "2026-12-31"),
        ("2026-12-31", "2026-12-31"),
        ("2027-01-01", "2027-01-01"),
        ("2027-12-31", "2026-12-31"),
        ("never", "2026-12-31"),
    ],
)
def test_until_when_an_undone_group_is_exempt(present, until):
    """An undone group is exempt for the days asked for, or until a later day that its tag exempts it to already."""
    assert exemption(date(2026, 12, 1), 30, present) == until
