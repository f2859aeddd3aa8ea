import itertools
import time

import pytest
from c7n.exceptions import PolicyExecutionError
from c7n.resources.vpc import UsedSecurityGroup

from c7n_ingress.aws import read
from tests.bench import decide
from tests.support.embedded import NOTIFY, act, made_changes, make_queue, messages, permission, rules_of, source_of

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}
OFFICE = "198.18.7.0/24"
SLOW = [{"type": "open-ingress"}, "used"]


@pytest.fixture
def replace(cloud, tmp_path):
    """Run the action on what is open and used."""
    make_queue(cloud)
    return lambda **hooks: act(cloud, tmp_path, hooks, None, filters=SLOW, authorized=[OFFICE], notify=NOTIFY)


@pytest.fixture
def slow_filter(monkeypatch):
    """Make the filter ``used`` take longer than a reading may be old, and do something else meanwhile."""

    def slow(meanwhile=lambda: None):
        def process(_self, resources, _event=None):
            time.sleep(read.OLDEST + 0.1)
            meanwhile()
            return resources

        monkeypatch.setattr(UsedSecurityGroup, "process", process)

    return slow


def sources(group_id):
    """Return the sources of a group's ingress rules."""
    return sorted(source_of(rule) for rule in rules_of(group_id).values())


def test_a_slow_filter_leaves_no_group_open(cloud, group, replace, slow_filter):
    """A group is closed although one of the policy's filters takes longer than a reading may be old."""
    slow_filter()
    groups = [group(SSH, number=number) for number in (1, 2, 3)]
    replace()
    assert [sources(each) for each in groups] == [[OFFICE]] * 3
    assert made_changes(cloud) == ["ModifySecurityGroupRules"] * 3


def test_what_changes_while_a_slow_filter_runs(cloud, group, replace, slow_filter):
    """A rule that a group gets while a slow filter runs is judged, too, before the group is changed."""
    group_id = group(SSH)
    ec2 = cloud.session().client("ec2")
    calls = itertools.count(1)
    changed = []

    def open_more():
        if next(calls) == 2:  # 1 is c7n's own listing
            changed.append(
                ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission({**SSH, "ports": 23})])
            )

    slow_filter(open_more)
    replace()
    assert len(changed) == 1
    assert sources(group_id) == [OFFICE, OFFICE]


def test_what_was_slow_is_reported(cloud, group, tmp_path, monkeypatch):
    """A group that was not changed in time is reported, and the others are closed."""
    make_queue(cloud)
    bad, good = group(SSH, number=1), group(SSH, number=2)
    monkeypatch.setattr(read, "OLDEST", 0.3)

    def slow_answer(**arguments):
        if bad in str(arguments):
            time.sleep(0.4)

    hooks = {"DescribeSecurityGroupRules": slow_answer}
    with pytest.raises(PolicyExecutionError, match=f"{bad}: the reading was older than .* is too slow"):
        act(cloud, tmp_path, hooks, None, filters=[{"type": "open-ingress"}], authorized=[OFFICE], notify=NOTIFY)
    assert "0.0.0.0/0" in sources(bad)
    assert sources(good) == [OFFICE]
    assert len(messages(cloud)) == 1


@pytest.mark.parametrize("name", decide.SHAPES)
def test_no_group_takes_long_to_decide(name):
    """However somebody fills a group, deciding takes far less than a reading may be old, on a third of a processor."""
    assert decide.seconds(decide.SHAPES[name], decide.MOST) < read.OLDEST / 6


def test_a_full_group_is_closed(group, cloud, tmp_path):
    """A group with as many rules as EC2 allows by default, each network in others, is closed at the first reading."""
    make_queue(cloud)
    v4 = itertools.islice(decide.nested("11.0.0.0/9", "12.0.0.0/9", deepest=15), 59)
    v6 = itertools.islice(decide.nested("2a02::/17", "2a03::/17", deepest=31), 60)
    many = [
        {"protocol": "tcp", "ports": f"{1000 + number}-{65000 - number}", "source": source}
        for number, source in enumerate([*v4, *v6])
    ]
    group_id = group(SSH, *many)
    act(cloud, tmp_path, filters=[{"type": "open-ingress"}], authorized=[OFFICE], notify=NOTIFY)
    assert "0.0.0.0/0" not in sources(group_id)
    assert len(sources(group_id)) == 120
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]


def test_shapes_are_full():
    """Each group that the benchmark decides about has as many rules as it says, no two of them alike."""
    for name, shape in decide.SHAPES.items():
        for number in (100, 1000):
            rules = shape(number)
            assert len(rules) == (number // 2 + 1 if name == "a prefix list beside rules" else number), name
            assert len(set(map(repr, rules))) == len(rules), name
