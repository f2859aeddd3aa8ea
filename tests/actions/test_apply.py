"""One plan for one group: which calls EC2 gets, what each has done, and what EC2's answers mean."""

import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from c7n_ingress.aws.apply import LostError, OutdatedError, StaleError, ThrottledError, Unmade, apply
from c7n_ingress.aws.calls import ONCE
from c7n_ingress.aws.read import OLDEST, Reading
from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Change
from c7n_ingress.decide.rules import Rule, Traffic, network, rule_from
from tests.support.embedded import aws_error, group_of, load, rules_of, source_of, watched

GROUP = "sg-00000000000000001"
TCP_22 = Traffic("tcp", 22, 22)
AUTHORIZE, REVOKE = "AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"
MODIFY = "ModifySecurityGroupRules"
A, B, C = (network(f"198.18.{number}.0/24") for number in (1, 2, 3))
OPEN = network("0.0.0.0/0")


@pytest.fixture
def ec2(cloud):
    """Return a client that calls once, and a dictionary of what happens before and after calls."""
    session, happens = watched(cloud)
    happens.update({"before-call": {}, "after-call": {}})
    return session.client("ec2", config=ONCE), happens


def put(*sources, vpc="vpc-0f00000000000001"):
    """Put a group with rules for SSH into EC2, and return the rules."""
    rules = [{"protocol": "tcp", "ports": 22, "source": each, "description": "ssh"} for each in sources]
    load([{**group_of({"name": "web", "ingress": rules}, 1), "VpcId": vpc}])
    by_source = {source_of(each): rule_from(each) for each in rules_of(GROUP).values()}
    return [by_source[each] for each in sources]


def applied(client, full=(), age=-60.0, **plan):
    """Apply a plan on a reading that is as old, and return what each call has done, also with what is raised."""
    reading = Reading({"GroupId": GROUP}, selected=True, matches=set(), rules=[], prefix_lists={}, since=0.0)
    done = []
    try:
        done += apply(
            client, reading._replace(since=time.monotonic() - age), Plan(**plan), {each.key: each for each in full}
        )
    except Exception as error:
        error.done = done
        raise
    return done


def made(how, rule, source):
    """Return a change that added a rule beside another, with the id that EC2 has given it."""
    (rule_id,) = (rule_id for rule_id, each in rules_of(GROUP).items() if source_of(each) == str(source))
    return Change(how, rule_id, rule, None, source)


def test_each_call_says_what_it_has_done(cloud, ec2):
    """What adds comes first and what removes comes last; each change has the id of its rule."""
    client, _ = ec2
    rule, other = put("0.0.0.0/0", "10.0.0.0/8")
    cloud.calls.clear()
    done = applied(client, authorize=[Replacement(rule, A), Replacement(rule, B)], modify=[(rule, C)], revoke=[other])
    assert done == [
        [made("authorized", rule, A), made("authorized", rule, B)],
        [Change("modified", rule.id, rule, OPEN, C)],
        [Change("revoked", other.id, other, other.source, None)],
    ]
    assert [call.action for call in cloud.calls] == [AUTHORIZE, MODIFY, REVOKE]
    assert {source_of(each): each["Description"] for each in rules_of(GROUP).values()} == {
        "198.18.1.0/24": "ssh",
        "198.18.2.0/24": "ssh",
        "198.18.3.0/24": "ssh",
    }
    cloud.calls.clear()
    assert applied(client) == []
    assert cloud.calls == []


def test_the_tags_of_what_comes_back(ec2):
    """A rule that comes back has its tags, but for those that only AWS sets; one beside another has none."""
    client, _ = ec2
    (kept,) = put("10.0.0.0/8")
    tags = (("owner", "web"), ("aws:cloudformation:stack-name", "web"), ("team", "b"))
    gone = Rule("sgr-0", TCP_22, OPEN, "it was open", tags)
    plain = Rule("sgr-1", TCP_22, B, None, (("aws:created", "x"),))
    done = applied(client, authorize=[Replacement(gone, OPEN), Replacement(gone, A), Replacement(plain, B)])
    assert [[change.now for change in each] for each in done] == [[OPEN], [A], [B]]
    found = {source_of(each): (each.get("Description"), each["Tags"]) for each in rules_of(GROUP).values()}
    assert found == {
        "10.0.0.0/8": ("ssh", [dict(zip(("Key", "Value"), tag, strict=True)) for tag in kept.tags]),
        "0.0.0.0/0": ("it was open", [{"Key": "owner", "Value": "web"}, {"Key": "team", "Value": "b"}]),
        "198.18.1.0/24": ("it was open", []),
        "198.18.2.0/24": (None, []),
    }


def test_as_many_as_find_room(cloud, ec2):
    """Where not all find room, as many are added as do, in order; the others are returned, and tried after a revoke."""
    client, _ = ec2
    rule, other = put("0.0.0.0/0", "10.0.0.0/8")
    cloud.ec2.rules_per_group = 3
    a, b, c = (Replacement(rule, each) for each in (A, B, C))
    cloud.calls.clear()
    done = applied(client, authorize=[a, b, c], revoke=[other])
    assert done == [
        [made("authorized", rule, A)],
        Unmade(b, has_room=False),
        Unmade(c, has_room=False),
        [Change("revoked", other.id, other, other.source, None)],
        [made("authorized", rule, B)],
        Unmade(c, has_room=False),
    ]
    assert [call.action for call in cloud.calls] == [AUTHORIZE] * 3 + [REVOKE] + [AUTHORIZE] * 3
    assert {source_of(each) for each in rules_of(GROUP).values()} == {"0.0.0.0/0", str(A), str(B)}


def test_one_family_has_no_room(cloud, ec2):
    """Where one network finds no room, no other of its family is tried; those of the other family are added."""
    client, _ = ec2
    (rule,) = put("0.0.0.0/0")
    cloud.ec2.rules_per_group = 1
    a, b = Replacement(rule, A), Replacement(rule, B)
    v6 = Replacement(rule, network("2001:2:0:7::/64"))
    cloud.calls.clear()
    done = applied(client, authorize=[a, v6, b])
    assert done == [Unmade(a, has_room=False), [made("authorized", rule, v6.source)], Unmade(b, has_room=False)]
    assert [call.action for call in cloud.calls] == [AUTHORIZE] * 3


def test_what_found_no_room_before(cloud, ec2):
    """It is tried again only when something was removed; what is planned besides is added at once."""
    client, _ = ec2
    rule, other = put("0.0.0.0/0", "10.0.0.0/8")
    a, b = Replacement(rule, A), Replacement(rule, B)
    cloud.calls.clear()
    assert applied(client, full=[a], authorize=[a]) == []
    assert cloud.calls == []
    first, second, third = applied(client, full=[a], authorize=[a, b], revoke=[other])
    assert (first, third) == ([made("authorized", rule, B)], [made("authorized", rule, A)])
    assert [change.how for change in second] == ["revoked"]


def test_a_rule_that_the_default_vpc_does_not_have(cloud, ec2):
    """In a default VPC EC2 removes what exists and lists the rest: that is recorded, and the group is read again."""
    client, _ = ec2
    default = cloud.session().client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
    rule, other = put("0.0.0.0/0", "10.0.0.0/8", vpc=default["Vpcs"][0]["VpcId"])
    with pytest.raises(OutdatedError) as raised:
        applied(client, revoke=[rule, Rule("sgr-0", TCP_22, A, None), other])
    assert raised.value.done == [[Change("revoked", each.id, each, each.source, None) for each in (rule, other)]]


def test_an_old_reading(cloud, ec2):
    """Nothing is called on a reading that is too old."""
    client, _ = ec2
    (rule,) = put("0.0.0.0/0")
    cloud.calls.clear()
    for plan in ({"authorize": [Replacement(rule, A)]}, {"modify": [(rule, A)]}, {"revoke": [rule]}):
        with pytest.raises(StaleError):
            applied(client, age=OLDEST + 0.01, **plan)
    assert cloud.calls == []


CLOSED = ConnectionClosedError(endpoint_url="ec2")
ANSWERS = {
    "InvalidSecurityGroupRuleId.NotFound": (aws_error("InvalidSecurityGroupRuleId.NotFound"), OutdatedError, None),
    "InvalidPermission.NotFound": (aws_error("InvalidPermission.NotFound"), OutdatedError, None),
    "InvalidPermission.Duplicate": (aws_error("InvalidPermission.Duplicate"), OutdatedError, None),
    "RequestLimitExceeded": (
        aws_error("RequestLimitExceeded", status=503),
        ThrottledError,
        r"\(RequestLimitExceeded\)",
    ),
    "an error of the server": (
        aws_error("InternalError", status=500),
        LostError,
        "^EC2's answer was lost: .*InternalError",
    ),
    "no server": (aws_error("Unavailable", status=503), LostError, "^EC2's answer was lost: .*Unavailable"),
    "no connection": (CLOSED, LostError, "^EC2's answer was lost: Connection was closed"),
    "a refusal": (aws_error("UnauthorizedOperation", status=403), ClientError, "UnauthorizedOperation"),
    "the last error that is not the server's": (aws_error("Odd", status=499), ClientError, "Odd"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_answers_mean(ec2, name):
    """An error says whether the group was changed meanwhile, EC2 throttles, or the call may have been carried out."""
    client, happens = ec2
    (rule,) = put("0.0.0.0/0")
    error, kind, says = ANSWERS[name]

    def fail(**_):
        raise error

    happens["before-call"].update(dict.fromkeys((AUTHORIZE, MODIFY, REVOKE), fail))
    for plan, change in (
        ({"authorize": [Replacement(rule, A)]}, Change("authorized", None, rule, None, A)),
        ({"modify": [(rule, A)]}, Change("modified", rule.id, rule, OPEN, A)),
        ({"revoke": [rule]}, Change("revoked", rule.id, rule, OPEN, None)),
    ):
        with pytest.raises(kind, match=says) as raised:
            applied(client, **plan)
        assert type(raised.value) is type(error) or raised.value.__cause__ is error
        if kind is LostError:
            assert raised.value.changes == [change]


def test_somebody_stops_the_run_during_a_call(ec2):
    """What EC2 may have done by then is known."""
    client, happens = ec2
    (rule,) = put("0.0.0.0/0")

    def stop(**_):
        raise KeyboardInterrupt

    happens["after-call"][MODIFY] = stop
    with pytest.raises(KeyboardInterrupt) as raised:
        applied(client, modify=[(rule, A)])
    assert raised.value.changes == [Change("modified", rule.id, rule, OPEN, A)]
