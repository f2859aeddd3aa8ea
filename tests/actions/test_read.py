"""How groups are read: as they are now, judged again, in lots that are changed in time."""

import itertools
from types import SimpleNamespace

import pytest
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.aws import read
from c7n_ingress.aws.read import LiveGroups, Reading, Unchanged, Unread, each_by_itself, judges_the_set
from c7n_ingress.decide.rules import ALL, PREFIX_LISTS, UNREADABLE, Match, Rule, Traffic, network
from c7n_ingress_tools.embedded_aws.ec2 import load_prefix_list
from tests.support.embedded import OPEN, aws_error, group_of, ids, load, loaded, rules_of, watched

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}
PRIVATE = {"protocol": "tcp", "ports": 22, "source": "10.0.0.0/8"}
SSH_OPEN = Match(Traffic("tcp", 22, 22), network("0.0.0.0/0"))


@pytest.fixture
def live(cloud, tmp_path):
    """Return a function that returns live groups by a policy's filters; `happens` is what happens at its calls."""
    session, happens = watched(cloud)
    happens.update({"before-call": {}, "after-call": {}})

    def groups(filters=OPEN, event=None):
        data = {"name": "a-policy", "resource": "aws.security-group", "filters": list(filters)}
        manager = loaded(data, tmp_path, session).resource_manager
        return LiveGroups(manager, session.client("ec2"), event)

    groups.happens = happens
    return groups


@pytest.fixture
def clock(monkeypatch):
    """Stop the clock by which readings grow old, and return a function that makes seconds pass."""
    now = [1000.0]
    time = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0] + 5000)
    monkeypatch.setattr(read, "time", time)

    def passes(seconds):
        now[0] += seconds

    passes.now = lambda: now[0]
    return passes


def put(*groups):
    """Put groups with these rules into EC2."""
    load([group_of({"name": f"g{number}", "ingress": rules}, number) for number, rules in enumerate(groups, 1)])


def test_a_reading(live, clock):
    """A reading says whether the filters match a group and which of its rules, and has all its ingress rules."""
    load_prefix_list("pl-0a000000000000009", ["0.0.0.0/0"])
    put([SSH, PRIVATE], [PRIVATE], [{"protocol": "-1", "source": "pl-0a000000000000009"}])
    one, three, two = live([{"type": "open-ingress"}]).read(ids(1, 3, 2, 4))
    assert [each.group["GroupName"] for each in (one, three, two)] == ["g1", "g3", "g2"]
    assert (one.selected, one.matches, one.prefix_lists) == (True, {SSH_OPEN}, {})
    assert {(rule.match, rule.description) for rule in one.rules} == {
        (SSH_OPEN, "ssh"),
        (SSH_OPEN._replace(source=network("10.0.0.0/8")), None),
    }
    assert {rule.id for rule in one.rules} == {*rules_of(ids(1)[0])}
    assert all(isinstance(rule, Rule) for rule in one.rules)
    assert (two.selected, two.matches, len(two.rules)) == (False, set(), 1)
    assert (three.matches, three.prefix_lists) == (
        {Match(Traffic(ALL, -1, -1), "pl-0a000000000000009")},
        {"pl-0a000000000000009": 4},
    )
    assert {each.since for each in (one, two, three)} == {clock.now()}
    assert PREFIX_LISTS not in one.group


def test_how_old_a_reading_is(live, clock):
    """A reading is as old as its first call."""
    put([SSH])
    for operation, seconds in (("DescribeSecurityGroups", 0.5), ("DescribeSecurityGroupRules", 0.25)):
        live.happens["before-call"][operation] = lambda seconds=seconds, **_: clock(seconds)
    started = clock.now()
    (reading,) = live().read(ids(1))
    assert reading.since == started
    assert reading.is_fresh
    clock(0.26)
    assert not reading.is_fresh


@pytest.mark.parametrize("longest", [0.5, 0.25])
def test_filters_that_take_long(live, clock, monkeypatch, longest):
    """Groups are read again after slow filters, and those that are as the filters saw them may be changed later."""
    put([SSH], [SSH, PRIVATE, {**SSH, "ports": 23}], [SSH], [SSH])
    monkeypatch.setattr(read, "LONGEST_FILTERING", longest)
    groups = live()
    judge = groups.judge.filter_resources

    def slow(resources, event):
        clock(0.5)
        for each in resources:
            each["noted-by-a-filter"] = True
        return judge(resources, event)

    monkeypatch.setattr(groups.judge, "filter_resources", slow)
    answers = itertools.count(1)

    def answer(parsed, **_):
        parsed["SecurityGroups"][1]["IpPermissions"][0]["FromPort"] = "odd"
        if next(answers) == 2:
            parsed["SecurityGroups"] = [each for each in parsed["SecurityGroups"] if each["GroupName"] != "g4"]
            for each in parsed["SecurityGroups"]:
                for permission in each["IpPermissions"]:
                    permission["IpRanges"].reverse()
                each["IpPermissions"].reverse()
                if each["GroupName"] == "g3":
                    each["Tags"] = [{"Key": "changed", "Value": "since"}]

    live.happens["before-call"]["DescribeSecurityGroups"] = lambda **_: clock(0.125)
    live.happens["before-call"]["DescribeSecurityGroupRules"] = lambda **_: clock(0.0625)
    live.happens["after-call"]["DescribeSecurityGroups"] = answer
    started = clock.now()
    readings = groups.read(ids(1, 2, 3, 4))
    again = longest < 0.5
    later = started + 0.625 if again else started
    assert [each.since for each in readings] == [later, later, started, started]
    assert next(answers) == (3 if again else 2)


def test_groups_that_fail_alone(live, monkeypatch):
    """A group that a filter or the pack cannot read fails, and the others are read."""
    put([SSH], [SSH], [SSH], [SSH])
    groups = live()
    judge = groups.judge.filter_resources

    def filtered(resources, event):
        if any(each["GroupName"] == "g2" for each in resources):
            raise KeyError("odd")
        for each in resources:
            if each["GroupName"] == "g3":
                each[UNREADABLE] = "it is odd"
        return judge(resources, event)

    def distort(parsed, **_):
        for rule in parsed["SecurityGroupRules"]:
            if rule["GroupId"] == ids(4)[0]:
                del rule["IpProtocol"]

    monkeypatch.setattr(groups.judge, "filter_resources", filtered)
    live.happens["after-call"]["DescribeSecurityGroupRules"] = distort
    good, *bad = groups.read(ids(1, 2, 3, 4))
    assert (type(good), good.matches) == (Reading, {SSH_OPEN})
    assert [(type(each), each.group["GroupId"], repr(each.error)) for each in bad] == [
        (Unread, ids(2)[0], "KeyError('odd')"),
        (Unread, ids(3)[0], "ValueError('it is odd')"),
        (Unread, ids(4)[0], "KeyError('IpProtocol')"),
    ]


@pytest.mark.parametrize(
    "error",
    [aws_error("Odd"), PolicyExecutionError("no list")],
    ids=repr,
)
def test_a_filter_that_fails_for_all(live, monkeypatch, error):
    """A filter that fails for a reason that is not one group's fails for all of a lot, and each of them is reported."""
    put([SSH], [SSH])
    groups = live()

    def fail(*_):
        raise error

    monkeypatch.setattr(groups.judge, "filter_resources", fail)
    with pytest.raises(type(error)):
        groups.read(ids(1, 2))
    listed = [{"GroupId": each} for each in ids(1, 2)]
    assert [*groups.in_lots(listed)] == [Unread(group, error) for group in listed]


def test_the_event_of_the_filters(live):
    """The policy's filters get the event of the run."""
    put([SSH], [SSH])
    event = {"detail": {"name": "g2"}}
    by_event = [{"type": "event", "key": "detail.name", "value": "g2"}]
    assert [each.selected for each in live(by_event, event).read(ids(1, 2))] == [True, True]
    assert [each.selected for each in live(by_event, {"detail": {"name": "g1"}}).read(ids(1, 2))] == [False, False]


def test_the_sizes_of_lots(live, clock, monkeypatch):
    """A lot is as large as what was changed in time of the last one, and grows again when all of it was."""
    put(*[[SSH]] * 27)
    monkeypatch.setattr(read, "GROUPS_A_CALL", 8)
    lots = []

    def note(params, **_):
        lots.append(sum(key.startswith("Filter.1.Value") for key in params["body"]))

    live.happens["before-call"]["DescribeSecurityGroupRules"] = note
    wanted = [{"GroupId": each} for each in ids(*range(1, 28))]
    seen = []
    for number, reading in enumerate(live().in_lots(wanted), 1):
        seen.append(reading.group["GroupId"])
        assert reading.is_fresh
        clock({2: 1.1, 3: 1.1}.get(number, 0.0))
    assert seen == [each["GroupId"] for each in wanted]
    assert lots == [8, 2, 1, 2, 4, 8, 8, 1]


def test_the_rules_of_lots(live, cloud, clock, monkeypatch):
    """Groups with so many rules that they would fill the memory with tags are read in smaller lots."""
    many = [{**SSH, "ports": port} for port in range(3)]
    put([SSH], many, many, [SSH], [*many, {**SSH, "ports": 7}, PRIVATE], [SSH])
    wanted = cloud.session().client("ec2").describe_security_groups(GroupIds=ids(*range(1, 7)))["SecurityGroups"]
    wanted = [{**group, "IpPermissionsEgress": []} for group in sorted(wanted, key=lambda group: group["GroupId"])]
    monkeypatch.setattr(read, "MOST_RULES", 4, raising=False)
    lots = []
    groups = live()
    monkeypatch.setattr(groups, "read", lambda lot: lots.append(lot) or LiveGroups.read(groups, lot))
    assert [each.group["GroupId"] for each in groups.in_lots(wanted)] == ids(*range(1, 7))
    assert lots == [ids(1, 2), ids(3, 4), ids(5), ids(6)]
    assert clock.now() == 1000.0


def test_a_group_that_is_gone_and_a_lot_that_fails(live, clock, monkeypatch):
    """Groups that do not exist any more are left out, and a lot that cannot be read keeps no other from being read."""
    put(*[[SSH]] * 5)
    monkeypatch.setattr(read, "GROUPS_A_CALL", 2)
    calls = itertools.count(1)

    def fail(**_):
        if next(calls) == 2:
            raise error

    error = aws_error("Odd")
    live.happens["before-call"]["DescribeSecurityGroups"] = fail
    wanted = [{"GroupId": each} for each in ids(1, 9, 2, 3, 4)]
    found = [*live().in_lots(wanted)]
    assert [each.group["GroupId"] for each in found] == ids(1, 2, 3, 4)
    assert [getattr(each, "error", None) for each in found] == [None, error, error, None]
    assert clock.now() == 1000.0


def test_filters_that_judge_the_set(live):
    """Filters that judge the set keep their first verdict, in blocks and under `not` too; the others judge again."""
    first = {"type": "reduce", "limit": 1}
    count = {"type": "value", "value_type": "resource_count", "op": "gt", "value": 3}
    named, tag = {"type": "named", "groups": ids(1, 2)}, {"tag:exempt": "absent"}
    groups = live([*OPEN, first, {"not": [count, {"or": [named, {"not": [first, tag]}]}]}])
    before = list(groups.manager.filters)

    def shape(each):
        if isinstance(each, Unchanged):
            return each.data["match"]
        return (type(each).__name__, list(map(shape, each.filters))) if hasattr(each, "filters") else each.type

    assert list(map(shape, groups.judge.filters)) == [
        ("Or", ["ingress", "ingress"]),
        True,
        ("Not", [False, ("Or", [False, ("Not", [True, "value"])])]),
    ]
    assert groups.manager.filters == before
    assert [judges_the_set(each) for each in before[1:2]] == [True]
    assert [type(each) for each in each_by_itself(before[1:2])] == [Unchanged]
    put([SSH], [SSH], [SSH])
    assert [each.selected for each in live([*OPEN, first]).read(ids(1, 2, 3))] == [True, True, True]
    assert [each.selected for each in live([*OPEN, {"not": [count]}]).read(ids(1, 2, 3))] == [True, True, True]
