import gc
import itertools
import json
import logging
import random
import shlex
import string
import uuid
from threading import Event

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.aws.settle import MOST_STALE
from c7n_ingress.decide import states
from c7n_ingress_tools.embedded_aws.ec2 import load_groups, load_prefix_list
from tests.support.embedded import (
    ACCOUNT,
    MUTATING,
    NOTIFY,
    OPEN,
    act,
    group_of,
    made_changes,
    make_queue,
    messages,
    rules_of,
    source_of,
)

AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"]
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}
TWIN = {**SSH, "source": "198.18.7.0/24", "description": "twin"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Look at a group again at once."""
    monkeypatch.setattr("c7n_ingress.aws.settle.time.sleep", lambda _seconds: None)


@pytest.fixture
def replace(cloud, tmp_path):
    """Run a policy's filters and its action in this process, and return the records."""

    def run(before=None, after=None, **policy):
        return act(cloud, tmp_path, before, after, **{"notify": NOTIFY, "authorized": AUTHORIZED, **policy})

    return run


class Once:
    """Do something the first time only."""

    def __init__(self, happens):
        self.happens = happens
        self.times = 0

    def __call__(self, **_):
        """Count, and do it if it is the first time."""
        self.times += 1
        if self.times == 1:
            self.happens()


def sources(group_id):
    """Return the sources of the group's ingress rules, sorted."""
    return sorted(source_of(rule) for rule in rules_of(group_id).values())


def reported(cloud):
    """Return what the one message that was sent says of each group."""
    (message,) = messages(cloud)
    return {resource["GroupId"]: resource for resource in message["resources"]}


# -- what is reported


def test_a_record_says_all(group, replace):
    """A change is recorded with where, what, before, after, how, by which policy and when."""
    group_id = group(SSH)
    (rule_id,) = rules_of(group_id)
    record = replace(authorized=["198.18.7.0/24"])[0]
    assert record.pop("time").endswith("Z")
    assert uuid.UUID(record.pop("run")).version == 7
    assert record == {
        "v": 1,
        "account": ACCOUNT,
        "region": "us-east-1",
        "vpc": "vpc-0f00000000000001",
        "group": group_id,
        "group_name": "group 1",
        "rule": rule_id,
        "protocol": "tcp",
        "ports": "22",
        "traffic": {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22},
        "was": "0.0.0.0/0",
        "now": "198.18.7.0/24",
        "description": "ssh",
        "tags": {},
        "how": "modified",
        "policy": "a-policy",
    }


def test_a_message_says_what_changed(cloud, group, replace):
    """The message has the groups with names, tags and records, and a subject with nothing that anybody typed."""
    group_id = group(SSH, GroupName="<b>web</b>", Tags=[{"Key": "owner", "Value": "web"}])
    records = replace()
    (message,) = messages(cloud)
    (line,) = message["resources"][0].pop("c7n:undo-ingress")
    assert line.startswith(
        f"c7n-ingress undo {group_id} --run {records[0]['run']} --region us-east-1 --journal file:///"
    )
    assert message["resources"] == [
        {
            "GroupId": group_id,
            "GroupName": "<b>web</b>",
            "VpcId": "vpc-0f00000000000001",
            "OwnerId": ACCOUNT,
            "Tags": [{"Key": "owner", "Value": "web"}],
            "c7n:replaced-ingress": [{key: each[key] for key in each if key != "tags"} for each in records],
            "c7n:state-ingress": states.CLOSING.done._asdict(),
        }
    ]
    assert message["action"]["subject"] == "Open ingress: 1 rule replaced in 1 group (123456789012 us-east-1)"


def test_nothing_is_reported_of_nothing(cloud, group, replace):
    """Where nothing matches, nothing is said."""
    group(TWIN)
    assert replace() == []
    assert messages(cloud) == []


def test_many_groups_are_reported_in_few_messages(cloud, group, replace):
    """Three hundred groups are reported in three messages at most, each of them once."""
    for number in range(1, 301):
        group(SSH, number=number)
    replace(authorized=["198.18.7.0/24"])
    sent = messages(cloud)
    assert len(sent) <= 3
    assert len({resource["GroupId"] for message in sent for resource in message["resources"]}) == 300
    assert sum(len(message["resources"]) for message in sent) == 300


def test_a_message_that_cannot_be_sent(cloud, group, replace, caplog):
    """If the message cannot be sent, the group is closed all the same, the log has the records, and the run fails."""
    group_id = group(SSH)
    cloud.session().client("sqs").delete_queue(QueueUrl=make_queue(cloud))
    caplog.set_level(logging.INFO, "custodian.journal")
    with pytest.raises(PolicyExecutionError, match="the notification could not be sent"):
        replace(authorized=["198.18.7.0/24"])
    assert sources(group_id) == ["198.18.7.0/24"]
    assert '"was": "0.0.0.0/0", "now": "198.18.7.0/24"' in caplog.text


def test_preview(cloud, group, replace):
    """A preview reports what would change, changes nothing, and takes examples from the documentation."""
    group_id = group(SSH)
    records = replace(preview=True, authorized=["203.0.113.0/24", "198.18.7.0/24"])
    assert [(r["how"], r["was"], r["now"]) for r in records] == [
        ("preview", None, "198.18.7.0/24"),
        ("preview", "0.0.0.0/0", "203.0.113.0/24"),
    ]
    assert sources(group_id) == ["0.0.0.0/0"]
    (message,) = messages(cloud)
    assert message["action"]["subject"] == "Open ingress: 1 rule would be replaced in 1 group (123456789012 us-east-1)"


# -- calls


def test_one_call_closes_any_number_of_rules(cloud, group, replace):
    """With one network a family, a group with many open rules costs one call that changes something."""
    group(
        *({**SSH, "ports": port} for port in range(1, 21)), *({**SSH, "ports": p, "source": "::/0"} for p in range(20))
    )
    replace(authorized=["198.18.7.0/24", "2001:2:0:7::/64"])
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]


def test_authorize_comes_first_and_revoke_last(cloud, group, replace):
    """Where all three kinds of calls are needed, each is made once, and what takes away comes last."""
    rdp = {**SSH, "ports": 3389}
    group(SSH, rdp, {**rdp, "source": "198.18.7.0/24"}, {**rdp, "source": "198.18.8.0/24"})
    replace()
    assert made_changes(cloud) == [
        "AuthorizeSecurityGroupIngress",
        "ModifySecurityGroupRules",
        "RevokeSecurityGroupIngress",
    ]


def test_groups_are_read_in_lots(cloud, group, replace, monkeypatch):
    """However many groups there are, they are read 200 at a time, as long as they are changed in time."""
    monkeypatch.setattr("c7n_ingress.aws.read.OLDEST", 60)
    for number in range(1, 202):
        group(SSH, number=number)
    replace(authorized=["198.18.7.0/24"])
    actions = [call.action for call in cloud.calls]
    assert actions.count("DescribeSecurityGroups") == 1 + 2
    assert actions.count("DescribeSecurityGroupRules") == 2


@pytest.mark.parametrize("works", [True, False])
def test_the_garbage_collector_is_left_as_it_was(group, replace, works):
    """After a run, be it one that fails, Python's collector works again if it did before."""
    group(SSH)

    def refuse(**_):
        raise ValueError("no")

    (gc.enable if works else gc.disable)()
    try:
        with pytest.raises(PolicyExecutionError):
            replace({"ModifySecurityGroupRules": refuse}, authorized=["198.18.7.0/24"])
        assert gc.isenabled() is works
    finally:
        gc.enable()


# -- what is true now


class SecondTime(Once):
    """Do something the second time only."""

    def __call__(self, **_):
        """Count, and do it if it is the second time."""
        self.times += 1
        if self.times == 2:
            self.happens()


@pytest.mark.parametrize("fate", ["exempted", "closed", "deleted"])
def test_a_group_that_no_longer_matches_is_left_alone(cloud, group, replace, fate):
    """A group that was exempted, closed or deleted after it was listed is left alone, without a word."""
    group_id = group(SSH)
    ec2 = cloud.session().client("ec2")
    happens = {
        "exempted": lambda: ec2.create_tags(Resources=[group_id], Tags=[{"Key": "exempt", "Value": "yes"}]),
        "closed": lambda: ec2.revoke_security_group_ingress(
            GroupId=group_id, SecurityGroupRuleIds=list(rules_of(group_id))
        ),
        "deleted": lambda: ec2.delete_security_group(GroupId=group_id),
    }[fate]
    second = SecondTime(happens)
    assert replace({"DescribeSecurityGroups": second}, filters=[{"tag:exempt": "absent"}, *OPEN]) == []
    assert second.times == 2
    assert messages(cloud) == []
    assert "ModifySecurityGroupRules" not in made_changes(cloud)


def test_what_somebody_narrows_while_ec2_throttles(cloud, group, replace, monkeypatch):
    """However long EC2 throttles, a rule that somebody narrowed meanwhile, and a group that was exempted, stay so."""
    ids = [group(SSH, number=number) for number in range(1, 13)]
    ec2 = cloud.session().client("ec2")
    clock = itertools.count(step=0.3)  # seconds go by between any two looks at the clock
    monkeypatch.setattr("c7n_ingress.aws.read.time.monotonic", lambda: next(clock))

    def narrow():
        (rule_id,) = rules_of(ids[-1])
        narrower = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": "10.1.0.0/16"}
        ec2.modify_security_group_rules(
            GroupId=ids[-1], SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": narrower}]
        )
        ec2.create_tags(Resources=[ids[-2]], Tags=[{"Key": "exempt", "Value": "yes"}])

    before = {"ModifySecurityGroupRules": Once(narrow)}
    records = replace(before, authorized=["198.18.7.0/24"], filters=[{"tag:exempt": "absent"}, *OPEN])
    assert sources(ids[-1]) == ["10.1.0.0/16"]
    assert sources(ids[-2]) == ["0.0.0.0/0"]
    assert {record["group"] for record in records} == set(ids[:-2])


def test_a_throttled_call_is_not_made_again_on_the_old_reading(cloud, group, replace):
    """After EC2 has throttled a change, the group is read again before it is changed."""
    group_id = group(SSH)
    ec2 = cloud.session().client("ec2")
    error = {"Error": {"Code": "RequestLimitExceeded", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 503}}

    def throttle():
        ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=list(rules_of(group_id)))
        raise ClientError(error, "ModifySecurityGroupRules")

    modify = Once(throttle)
    assert replace({"ModifySecurityGroupRules": modify}, authorized=["198.18.7.0/24"]) == []
    assert modify.times == 1
    assert sources(group_id) == []


def test_a_rule_is_revoked_only_as_it_was_read(cloud, group, replace):
    """A rule that becomes another between read and revoke stays: EC2 gets what to revoke, not only its id."""
    group_id = group(SSH, TWIN)
    ec2 = cloud.session().client("ec2")
    (rule_id,) = (i for i, rule in rules_of(group_id).items() if source_of(rule) == "0.0.0.0/0")
    narrower = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIpv4": "10.1.0.0/16"}
    request = [{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": narrower}]
    comes = Once(lambda: ec2.modify_security_group_rules(GroupId=group_id, SecurityGroupRules=request))
    assert replace({"RevokeSecurityGroupIngress": comes}, authorized=["198.18.7.0/24"]) == []
    assert sources(group_id) == ["10.1.0.0/16", "198.18.7.0/24"]


# -- which, and how many


def test_the_worst_come_first(cloud, group, replace):
    """Of more groups than may be changed at once, the worst are; the others are reported, and the run fails."""
    web = group({**SSH, "ports": 8443}, number=1)
    everything = group({"protocol": "-1", "source": "0.0.0.0/0"}, number=2)
    database = group({**SSH, "ports": 5432}, number=3)
    ssh = group(SSH, number=4)
    with pytest.raises(PolicyExecutionError, match=r"2 more groups are open: one run changes 2 \(at-most\)"):
        replace(authorized=["198.18.7.0/24"], **{"at-most": 2})
    assert [sources(each) for each in (everything, ssh)] == [["198.18.7.0/24"]] * 2
    assert [sources(each) for each in (database, web)] == [["0.0.0.0/0"]] * 2
    (message,) = messages(cloud)
    assert message["action"]["subject"].startswith("Open ingress: 2 groups not closed, 2 rules replaced in 2 groups")
    assert [resource["c7n:waiting-ingress"] for resource in message["resources"]] == [2, 2]
    assert {record["group"] for record in replace(authorized=["198.18.7.0/24"], **{"at-most": 2})} == {database, web}


@pytest.mark.parametrize("beside", ["20.0.0.0/9", "20.0.0.0/12"])
def test_what_stays_open_by_an_authorized_network(cloud, group, replace, beside):
    """A group that an authorized network and its other sources leave open together is reported each time."""
    group_id = group(SSH, {**SSH, "source": beside})
    for records in (1, 0):
        assert len(replace(authorized=["30.0.0.0/8"], filters=[{"type": "open-ingress"}])) == records
        (left,) = reported(cloud)[group_id]["c7n:left-ingress"]
        assert left.startswith("tcp 22 from 30.0.0.0/8: it is authorized, and so wide that the group stays open")
    assert sources(group_id) == [beside, "30.0.0.0/8"]


def test_what_cannot_be_changed_does_not_count(group, replace):
    """Groups of another account, and such as match by an unreadable list alone, keep no other from being closed."""
    for number in range(1, 31):
        shape = {**group_of({"name": "shared", "ingress": [SSH]}, number), "OwnerId": "999999999999"}
        load_groups([shape], account=ACCOUNT)
        group({"protocol": "-1", "source": "pl-00000000000000077"}, number=number + 30)
    own = group(SSH, number=99)
    records = replace(authorized=["198.18.7.0/24"], **{"at-most": 1})
    assert {record["group"] for record in records} == {own}


def test_nothing_gets_wider(cloud, group, replace):
    """A rule whose source is narrower than every authorized network stays as it is, is reported, and the run fails."""
    one = {**SSH, "source": "198.51.100.7/32"}
    group_id = group(one)
    with pytest.raises(PolicyExecutionError, match=r"198\.18\.0\.0/16 is wider than what it would replace"):
        replace(authorized=["198.18.0.0/16"], filters=[{"type": "ingress", "Ports": [22]}])
    assert sources(group_id) == ["198.51.100.7/32"]
    assert "198.51.100.7/32" in reported(cloud)[group_id]["c7n:failed-ingress"][0]


def test_a_shape_that_nobody_knows_stops_no_other_group(cloud, group, replace):
    """A rule that cannot be understood fails its own group; the others are closed."""
    strange, good = group(SSH, {**SSH, "ports": 23, "description": "strange"}, number=1), group(SSH, number=2)

    def distort(parsed, **_):
        for rule in parsed["SecurityGroupRules"]:
            if rule.get("Description") == "strange":
                del rule["CidrIpv4"]

    with pytest.raises(PolicyExecutionError, match=f"{strange}: could not be read"):
        replace(after={"DescribeSecurityGroupRules": distort}, authorized=["198.18.7.0/24"])
    assert sources(good) == ["198.18.7.0/24"]
    assert set(reported(cloud)) == {strange, good}


def distorted(strange, distort, answers=itertools.count):
    """Return what changes a group in each answer to DescribeSecurityGroups, or in those after the first."""
    number = answers()

    def change(parsed, **_):
        if next(number):
            for each in parsed["SecurityGroups"]:
                if each["GroupId"] == strange:
                    distort(each)

    return {"DescribeSecurityGroups": change}


ODD = {
    "no owner": lambda group: group.pop("OwnerId"),
    "no permissions": lambda group: group.pop("IpPermissions"),
    "permissions that are null": lambda group: group.update(IpPermissions=None),
    "a source that is no CIDR": lambda group: group["IpPermissions"][0]["IpRanges"][0].update(CidrIp="everywhere"),
    "a range without a CIDR": lambda group: group["IpPermissions"][0]["IpRanges"][0].pop("CidrIp"),
    "a prefix list without an id": lambda group: group["IpPermissions"][0].update(PrefixListIds=[{}]),
    "no protocol": lambda group: group["IpPermissions"][0].pop("IpProtocol"),
    "a port that is text": lambda group: group["IpPermissions"][0].update(FromPort="ssh"),
}


@pytest.mark.parametrize("start", [0, 1], ids=["when it is read again", "when it is listed"])
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_group_fails_alone(cloud, group, replace, odd, start):
    """A group that cannot be read, whatever is odd about it, fails alone and is reported; the others are closed."""
    strange, *good = (group(SSH, number=number) for number in (2, 1, 3))
    after = distorted(strange, ODD[odd], lambda: itertools.count(start))
    finder = {"type": "open-ingress", "Ports": [22]}
    with pytest.raises(PolicyExecutionError, match=f"{strange}: could not be read"):
        replace(after=after, filters=[finder], authorized=["198.18.7.0/24"], **{"at-most": 2})
    assert [sources(each) for each in (strange, *good)] == [["0.0.0.0/0"], ["198.18.7.0/24"], ["198.18.7.0/24"]]
    assert set(reported(cloud)) == {strange, *good}


def test_a_group_that_another_filter_cannot_read(cloud, group, replace):
    """A group on which one of c7n's own filters raises fails alone when it is read again."""
    strange, *good = (group(SSH, number=number) for number in (2, 1, 3))
    with pytest.raises(PolicyExecutionError, match=f"{strange}: could not be read"):
        replace(after=distorted(strange, ODD["permissions that are null"]), authorized=["198.18.7.0/24"])
    assert [sources(each) for each in good] == [["198.18.7.0/24"]] * 2
    assert set(reported(cloud)) == {strange, *good}


@pytest.mark.parametrize("key", ["GroupName", "VpcId", "Value"])
def test_an_odd_group_is_closed_and_reported(cloud, group, replace, key):
    """What a group lacks beside its rules keeps it neither from being closed nor from being reported."""
    strange, good = group(SSH, number=1, Tags=[{"Key": "Name", "Value": "web"}]), group(SSH, number=2)
    after = distorted(strange, lambda each: (each["Tags"][0] if key == "Value" else each).pop(key))
    replace(after=after, authorized=["198.18.7.0/24"], behind=True)
    assert sources(strange) == sources(good) == ["198.18.7.0/24"]
    assert {each: len(said["c7n:replaced-ingress"]) for each, said in reported(cloud).items()} == {strange: 1, good: 1}


# -- filters that judge the set

FINDER = {"type": "open-ingress"}
COUNT = {"type": "value", "value_type": "resource_count", "op": "gt", "value": 3}
FIRST = {"type": "reduce", "limit": 3, "sort-by": "GroupId"}
SETS = {
    "half": ([{"type": "reduce", "limit-percent": 50, "sort-by": "GroupId"}], 4),
    "all but two": ([{"type": "reduce", "discard": 2, "sort-by": "GroupId"}], 6),
    "one of each VPC": ([{"type": "reduce", "group-by": "VpcId", "limit": 1}], 1),
    "more than three": ([COUNT], 8),
    "not fewer than four": ([{"not": [{**COUNT, "op": "lte"}]}], 8),
    "either": ([{"or": [FIRST, {"GroupName": "group 8"}]}], 4),
    "both": ([{"and": [COUNT, FIRST]}], 3),
    "all but the first": ([{"not": [FIRST]}], 5),
    "all named": ([{"type": "named", "groups": [f"sg-{n:017x}" for n in range(1, 9)]}], 8),
}


@pytest.mark.parametrize("name", SETS)
def test_filters_that_judge_the_set(group, replace, monkeypatch, name):
    """What the policy's filters selected as a set is closed, though it is read again in lots of another size."""
    monkeypatch.setattr("c7n_ingress.aws.read.GROUPS_A_CALL", 3)
    ids = [group(SSH, number=number) for number in range(1, 9)]
    filters, selected = SETS[name]
    replace(filters=[FINDER, *filters], authorized=["198.18.7.0/24"])
    assert sum(sources(each) == ["198.18.7.0/24"] for each in ids) == selected


def test_a_named_group_that_another_filter_excludes(group, replace):
    """If a filter before `named` excludes a group, the error says so, because the group may exist."""
    group_id = group(TWIN, number=1)
    group(SSH, number=2)
    with pytest.raises(PolicyExecutionError, match="or a filter before this one excludes it: write this"):
        replace(filters=[*OPEN, {"type": "named", "groups": [group_id]}])


EXEMPT = {"type": "value", "key": "tag:exempt", "value": "present"}
BESIDE = {
    "and": {"and": [{"type": "reduce", "limit": 5}, {"not": [EXEMPT]}]},
    "or": {"or": [{"and": [COUNT, {"GroupName": "another"}]}, {"not": [EXEMPT]}]},
    "not": {"not": [{"or": [EXEMPT, COUNT]}]},
    "not twice": {"not": [{"not": [{"type": "reduce", "limit": 5}, {"not": [EXEMPT]}]}]},
}


@pytest.mark.parametrize("block", BESIDE)
def test_filters_beside_those_that_judge_the_set(cloud, group, replace, block):
    """A group that is exempted after it was selected is left open, whatever filter judges the set beside."""
    exempted, other = group(SSH, number=1), group(SSH, number=2)
    tags = [{"Key": "exempt", "Value": "yes"}]
    second = SecondTime(lambda: cloud.session().client("ec2").create_tags(Resources=[exempted], Tags=tags))
    replace({"DescribeSecurityGroups": second}, filters=[FINDER, BESIDE[block]], authorized=["198.18.7.0/24"])
    assert [sources(exempted), sources(other)] == [["0.0.0.0/0"], ["198.18.7.0/24"]]


def test_tags_never_keep_a_message_from_being_sent(cloud, group, replace):
    """Twenty-five groups with 46 tags of 256 characters are closed, and reported, each once."""
    noise = random.Random(1)
    for number in range(1, 26):
        tags = [
            {"Key": f"key-{n}", "Value": "".join(noise.choices(string.ascii_letters + string.digits, k=256))}
            for n in range(46)
        ]
        group(SSH, number=number, Tags=tags)
    replace(authorized=["198.18.7.0/24"])
    resources = [resource for message in messages(cloud) for resource in message["resources"]]
    assert len({resource["GroupId"] for resource in resources}) == len(resources) == 25
    assert all("tags. This message has no room for more" in resource["c7n:cut-ingress"] for resource in resources)


# -- when EC2 says no


def test_a_twin_that_comes_meanwhile(cloud, group, replace):
    """If somebody authorizes the same network between read and write, it is read again and closed all the same."""
    group_id = group(SSH)
    authorize = cloud.session().client("ec2").authorize_security_group_ingress
    twin = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.18.7.0/24"}]}
    comes = Once(lambda: authorize(GroupId=group_id, IpPermissions=[twin]))
    records = replace({"ModifySecurityGroupRules": comes}, authorized=["198.18.7.0/24"])
    assert sources(group_id) == ["198.18.7.0/24"]
    assert [(r["how"], r["was"], r["now"]) for r in records] == [("revoked", "0.0.0.0/0", None)]


def test_a_rule_that_goes_meanwhile(cloud, group, replace):
    """If somebody revokes the open rule between read and write, there is nothing to do, to record or to fail."""
    group_id = group(SSH)
    revoke = cloud.session().client("ec2").revoke_security_group_ingress
    goes = Once(lambda: revoke(GroupId=group_id, SecurityGroupRuleIds=list(rules_of(group_id))))
    assert replace({"ModifySecurityGroupRules": goes}, authorized=["198.18.7.0/24"]) == []
    assert sources(group_id) == []


def test_a_group_that_goes_meanwhile(cloud, group, replace):
    """If somebody deletes the group between read and write, that is no failure."""
    group_id = group(SSH)
    goes = Once(lambda: cloud.session().client("ec2").delete_security_group(GroupId=group_id))
    assert replace({"ModifySecurityGroupRules": goes}, authorized=["198.18.7.0/24"]) == []


def test_a_group_that_goes_with_an_answer(cloud, group, replace):
    """If somebody deletes the group while EC2's answer is lost, there is nothing to record, to report or to fail."""
    group_id = group(SSH)

    def lose(**_):
        cloud.session().client("ec2").delete_security_group(GroupId=group_id)
        raise ConnectionClosedError(endpoint_url="ec2")

    assert replace(after={"ModifySecurityGroupRules": lose}, authorized=["198.18.7.0/24"]) == []
    assert messages(cloud) == []


def test_a_group_that_always_changes(cloud, group, replace):
    """If somebody changes the group each time, the third time is the last, and it fails aloud."""
    group_id = group(SSH, {**SSH, "ports": 23})
    ec2 = cloud.session().client("ec2")

    def swap(**_):
        for rule_id, rule in rules_of(group_id).items():
            ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=[rule_id])
            again = {"IpProtocol": "tcp", "FromPort": rule["FromPort"], "ToPort": rule["ToPort"]}
            again["IpRanges"] = [{"CidrIp": "0.0.0.0/0"}]
            ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[again])

    with pytest.raises(PolicyExecutionError, match="was changed by somebody else 3 times while it was being replaced"):
        replace({"ModifySecurityGroupRules": swap}, authorized=["198.18.7.0/24"])
    assert reported(cloud)[group_id]["c7n:failed-ingress"]


def test_a_group_without_room(cloud, group, replace):
    """If the quota refuses networks, those that find room are added, the open rule goes, and the rest is reported."""
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1058)]
    group_id = group(SSH, *many)
    networks = ["198.18.7.0/24", "198.18.8.0/24", "198.18.9.0/24", "198.18.10.0/24"]
    with pytest.raises(PolicyExecutionError, match=r"closed, but 198.18.9.0/24 could not be added for tcp 22"):
        replace(authorized=networks)
    assert set(sources(group_id)) == {"10.0.0.0/8", "198.18.7.0/24", "198.18.8.0/24"}
    group_reported = reported(cloud)[group_id]
    assert [r["now"] for r in group_reported["c7n:replaced-ingress"]] == ["198.18.8.0/24", "198.18.7.0/24"]
    assert [text.split()[0] for text in group_reported["c7n:lacking-ingress"]] == ["198.18.9.0/24", "198.18.10.0/24"]
    assert "c7n:failed-ingress" not in group_reported
    assert group_reported["c7n:state-ingress"]["name"] == "closed, but …"

    cloud.ec2.rules_per_group = 100  # the message's first step
    for line in group_reported["c7n:todo-ingress"]:
        *command, request = shlex.split(line)
        assert " ".join(command) == "aws ec2 authorize-security-group-ingress --region us-east-1 --cli-input-json"
        cloud.session().client("ec2").authorize_security_group_ingress(**json.loads(request))
    added = [rule for rule in rules_of(group_id).values() if source_of(rule) in networks]
    assert {source_of(rule) for rule in added} == set(networks)
    assert {rule["FromPort"] for rule in added} == {22}


def test_room_that_a_revoke_makes_is_used(group, replace):
    """If the quota refuses a network, but a rule is revoked after that, the network finds its room."""
    rdp = {**SSH, "ports": 3389}
    twins = [{**rdp, "source": source} for source in ("198.18.7.0/24", "198.18.8.0/24")]
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1056)]
    group_id = group(SSH, rdp, *twins, *many)
    replace()
    assert sources(group_id).count("198.18.8.0/24") == 2
    assert "0.0.0.0/0" not in sources(group_id)


@pytest.mark.parametrize("trouble", ["throttled", "lost", "old"])
def test_what_was_refused_for_room_is_owed_until_it_exists(group, replace, monkeypatch, trouble):
    """If the open rule had to go to make room, its network is added whatever comes between."""
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1058)]
    group_id = group({**SSH, "source": "pl-0e000000000000001"}, *many)
    calls = itertools.count(1)

    def interfere(**_):
        if next(calls) == 2:
            if trouble == "old":
                monkeypatch.setattr("c7n_ingress.aws.read.OLDEST", 1.0)
                return
            code, status = ("RequestLimitExceeded", 503) if trouble == "throttled" else ("Unavailable", 503)
            error = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(error, "AuthorizeSecurityGroupIngress")

    def outdate(**_):
        if trouble == "old":
            monkeypatch.setattr("c7n_ingress.aws.read.OLDEST", -1.0)

    def renew(**_):
        monkeypatch.setattr("c7n_ingress.aws.read.OLDEST", 1.0)

    replace(
        {"AuthorizeSecurityGroupIngress": interfere, "DescribeSecurityGroupRules": renew},
        {"RevokeSecurityGroupIngress": outdate},
        filters=[{"type": "open-ingress"}],
        authorized=["198.18.7.0/24"],
    )
    assert [source_of(rule) for rule in rules_of(group_id).values() if rule["FromPort"] == 22] == ["198.18.7.0/24"]


@pytest.mark.parametrize(("code", "times"), [("RequestLimitExceeded", 3), ("InternalError", 2)])
def test_what_is_owed_is_not_forgotten_the_second_time(group, replace, code, times):
    """Where an open rule had to go first, its network comes in its place, however often EC2 then throttles or fails."""
    load_prefix_list("pl-0a000000000000009", ["0.0.0.0/0"])
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(2000, 2059)]
    group_id = group({**SSH, "source": "pl-0a000000000000009"}, *many)
    removed, failed = [], []

    def fail(**_):
        if removed and len(failed) < times:
            failed.append(code)
            metadata = {"HTTPStatusCode": 503 if code == "RequestLimitExceeded" else 500}
            raise ClientError({"Error": {"Code": code, "Message": ""}, "ResponseMetadata": metadata}, "Authorize")

    replace(
        {"AuthorizeSecurityGroupIngress": fail},
        {"RevokeSecurityGroupIngress": lambda **_: removed.append(True)},
        filters=[{"type": "open-ingress"}],
        authorized=["198.18.7.0/24"],
    )
    assert len(failed) == times
    assert [source_of(rule) for rule in rules_of(group_id).values() if rule["FromPort"] == 22] == ["198.18.7.0/24"]


def test_a_full_group_does_not_keep_its_open_rule(cloud, group, replace, monkeypatch):
    """However long EC2 takes to refuse each network of a full group, the open rule is replaced, and the run goes on."""
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1059)]
    group_id = group(SSH, *many)
    monkeypatch.setattr("c7n_ingress.aws.read.OLDEST", 0.3)
    networks = [f"198.18.{number}.0/24" for number in range(40)]

    def take_time(**_):
        Event().wait(0.2)

    with pytest.raises(PolicyExecutionError, match="could not be added"):
        replace({"AuthorizeSecurityGroupIngress": take_time}, authorized=networks)
    assert set(sources(group_id)) == {"10.0.0.0/8", networks[0]}
    assert len(reported(cloud)[group_id]["c7n:todo-ingress"]) == 39


def test_a_slow_ec2_is_waited_for_while_it_does_something(cloud, group, replace, monkeypatch):
    """However often readings grow old between one network and the next, the run goes on until each has its rule."""
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1028)]
    group_id = group(SSH, *many)
    clock = itertools.count(step=0.3)  # so that two networks are added a reading
    monkeypatch.setattr("c7n_ingress.aws.read.time.monotonic", lambda: next(clock))
    networks = [f"198.18.{number}.0/24" for number in range(33)]
    with pytest.raises(PolicyExecutionError, match=r"198.18.32.0/24 could not be added"):
        replace(authorized=networks)
    assert set(sources(group_id)) == {"10.0.0.0/8", *networks[:32]}
    assert [call.action for call in cloud.calls].count("DescribeSecurityGroups") > MOST_STALE


def test_a_rule_within_an_authorized_network_stays(group, replace):
    """Anyone who is let in from within an authorized network is authorized, even if a broad filter matches the rule."""
    group_id = group({**SSH, "source": "198.18.9.0/24"})
    assert replace(authorized=["198.18.0.0/16", "198.19.7.0/24"], filters=[{"type": "ingress", "Ports": [22]}]) == []
    assert sources(group_id) == ["198.18.9.0/24"]


def test_a_run_that_is_stopped_during_a_call(cloud, group, replace):
    """What EC2 may have done when somebody stopped the run is in the journal, and reported as perhaps done."""
    group_id = group(SSH)

    def stop(**_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(after={"ModifySecurityGroupRules": stop}, authorized=["198.18.7.0/24"])
    assert sources(group_id) == ["198.18.7.0/24"]
    group_reported = reported(cloud)[group_id]
    (record,) = group_reported["c7n:replaced-ingress"]
    assert (record["how"], record["was"], record["now"]) == ("perhaps modified", "0.0.0.0/0", "198.18.7.0/24")
    assert group_reported["c7n:failed-ingress"] == ["was not finished: somebody stopped the run"]


def test_a_run_that_is_stopped_between_records(cloud, group, replace):
    """What one call changed is in the journal and reported as a whole, also when the run is stopped in the middle."""
    group_id = group(*({**SSH, "ports": port} for port in range(1, 11)))
    written = []

    class Stop(logging.Handler):
        """Somebody who presses Ctrl-C while the third record is written."""

        def emit(self, record):
            written.append(json.loads(record.getMessage()))
            if len(written) == 3:
                raise KeyboardInterrupt

    journal = logging.getLogger("custodian.journal")
    journal.addHandler(stop := Stop())
    try:
        with pytest.raises(KeyboardInterrupt):
            replace(authorized=["198.18.7.0/24"])
    finally:
        journal.removeHandler(stop)
    assert set(sources(group_id)) == {"198.18.7.0/24"}
    assert {record["rule"] for record in written} == set(rules_of(group_id))
    records = reported(cloud)[group_id]["c7n:replaced-ingress"]
    assert {record["rule"] for record in records} == set(rules_of(group_id))


def test_one_group_without_permission(cloud, group, replace):
    """If one group may not be changed, the others are; both are reported, and the run fails with the group's name."""
    good, bad = group(SSH, number=1), group(SSH, number=2)

    def deny(params, **_):
        if bad in params["body"].values():
            error = {"Error": {"Code": "UnauthorizedOperation", "Message": "You are not authorized."}}
            raise ClientError({**error, "ResponseMetadata": {"RetryAttempts": 0, "HTTPStatusCode": 403}}, "Modify")

    with pytest.raises(PolicyExecutionError, match=rf"{bad}: .*UnauthorizedOperation"):
        replace({"ModifySecurityGroupRules": deny}, authorized=["198.18.7.0/24"])
    assert sources(good) == ["198.18.7.0/24"]
    assert sources(bad) == ["0.0.0.0/0"]
    assert set(reported(cloud)) == {good, bad}


def test_a_match_that_no_rule_answers_to(group, replace):
    """If a match has no rule after three readings, what can be closed is closed, and the rest fails aloud."""
    group_id = group(SSH, {**SSH, "ports": 23, "description": "hidden"})

    def hide(parsed, **_):
        rules = parsed["SecurityGroupRules"]
        parsed["SecurityGroupRules"] = [rule for rule in rules if rule.get("Description") != "hidden"]

    with pytest.raises(PolicyExecutionError, match=r"tcp 23 from 0.0.0.0/0 matched, but EC2 lists no such rule"):
        replace(after={"DescribeSecurityGroupRules": hide}, authorized=["198.18.7.0/24"])
    assert sources(group_id) == ["0.0.0.0/0", "198.18.7.0/24"]


# -- groups and rules that are not ours to replace


def test_a_group_of_another_account(cloud, group, replace):
    """A group of an account that shares its VPC is skipped, and reported."""
    group(SSH, number=1)
    foreign = group(SSH, number=2)
    cloud.calls.clear()

    def belongs_elsewhere(parsed, **_):
        for each in parsed["SecurityGroups"]:
            if each["GroupId"] == foreign:
                each["OwnerId"] = "999999999999"

    replace(after={"DescribeSecurityGroups": belongs_elsewhere}, authorized=["198.18.7.0/24"])
    assert sources(foreign) == ["0.0.0.0/0"]
    assert "belongs to account 999999999999" in reported(cloud)[foreign]["c7n:skipped-ingress"]


def test_references_are_not_replaced(group, replace):
    """A rule whose source is a group or a prefix list, matched by a broad filter, stays, and fails aloud."""
    group_id = group(SSH, {**SSH, "source": "sg-0f0000000000000aa"})
    with pytest.raises(PolicyExecutionError, match="no network can replace a reference"):
        replace(filters=[{"type": "ingress", "Ports": [22]}], authorized=["198.18.7.0/24"])
    assert sources(group_id) == ["198.18.7.0/24", "sg-0f0000000000000aa"]


def test_a_broad_filter_spares_the_authorized(group, replace):
    """A rule for an authorized network that a broad filter matches is neither replaced nor revoked."""
    group_id = group(TWIN)
    assert replace(filters=[{"type": "ingress", "Ports": [22]}], authorized=["198.18.7.0/24"]) == []
    assert sources(group_id) == ["198.18.7.0/24"]


# -- bad networks, found out only when it runs


@pytest.mark.parametrize("network", ["203.0.113.0/24", "2001:db8:10::/48", "192.0.2.128/25", "198.51.100.7/32"])
def test_examples_are_refused(cloud, group, replace, network):
    """A network from the documentation is refused before anything is changed."""
    group(SSH)
    with pytest.raises(PolicyExecutionError, match=r"changed nothing: .* is an example from the documentation"):
        replace(authorized=["198.18.7.0/24", network])
    assert not MUTATING & {call.action for call in cloud.calls}


def test_a_placeholder_that_nobody_filled(cloud, group, replace):
    """A `"{name}"` that c7n-org did not fill is refused before anything is changed."""
    group(SSH)
    with pytest.raises(PolicyExecutionError, match=r"changed nothing: '\{networks\}' is not a list of CIDRs"):
        replace(authorized="{networks}")
    assert not MUTATING & {call.action for call in cloud.calls}
