from datetime import datetime, timedelta, timezone

import pytest
from c7n.config import Config
from c7n.policy import PolicyCollection
from c7n.resources import load_resources

from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from c7n_ingress_tools.functions.runtime import FunctionError
from tests.support.channels import render
from tests.support.embedded import (
    ACCOUNT,
    OPEN,
    cases,
    group_of,
    ids,
    load,
    loaded,
    make_queue,
    messages,
    policy_named,
    rules_of,
    source_of,
    watched,
)
from tests.support.faults import failing, rules
from tests.support.kept import deploy_once, warm

CASES = cases("open-ingress-notice")["groups"]
AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"]
SSH = [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}]
MARK = "open-ingress-notice"
POLICIES = ["notice", "noticed", "mended"]
SCHEDULED = {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}


def mark(when):
    """Return a case's mark as text: as c7n writes it, or as somebody wrote it."""
    if isinstance(when, str):
        return when
    due = datetime.now(timezone.utc) + timedelta(hours=when["in"])
    return f"Open to the internet: replace-ingress@{due:%Y/%m/%d %H%M} UTC"


def ahead(text):
    """Return how far ahead the time of a mark is."""
    due = datetime.strptime(f"{text}+0000", "Open to the internet: replace-ingress@%Y/%m/%d %H%M UTC%z")
    return due - datetime.now(timezone.utc)


def group(case, number):
    """Return a case's group, with its mark."""
    tags = {**case.get("tags", {}), **({MARK: mark(case["mark"])} if "mark" in case else {})}
    return group_of({"ingress": SSH, **case, "tags": tags}, number)


GROUPS = [group(case, number) for number, case in enumerate(CASES, 1)]


def deploy(cloud, folder, authorized=AUTHORIZED, **more):
    """Deploy the three policies with the stock command, and with more settings."""
    deploy_once(cloud, folder, [f"open-ingress-{name}" for name in POLICIES], authorized, **more)


def run(cloud, name):
    """Run a deployed policy, as its schedule does."""
    with warm(cloud, f"custodian-open-ingress-{name}") as function:
        function.invoke(SCHEDULED)


def state(cloud, group_id):
    """Return a group's mark and the sources of its rules."""
    (found,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    return tags.get(MARK), sorted(source_of(rule) for rule in rules_of(group_id).values())


@pytest.fixture(scope="module")
def outcomes(embedded_aws, tmp_path_factory):
    """Run each policy on all of the cases, and return each group before and after, and whether it was reported."""
    cloud = embedded_aws
    cloud.reset()
    deploy(cloud, tmp_path_factory.mktemp("policies"))
    found = {}
    for name in POLICIES:
        load(GROUPS)
        before = {each["GroupId"]: state(cloud, each["GroupId"]) for each in GROUPS}
        run(cloud, name)
        reported = {resource["GroupId"] for message in messages(cloud) for resource in message["resources"]}
        for group_id, was in before.items():
            found[name, group_id] = was, state(cloud, group_id), group_id in reported
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["name"] for case in CASES])
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_acts(outcomes, name, number):
    """Of the three policies the one acts that the case names, and each of the others leaves the group as it is."""
    (was_mark, was_sources), (now_mark, now_sources), reported = outcomes[name, GROUPS[number]["GroupId"]]
    if CASES[number]["acts"] != name:
        assert (now_mark, now_sources, reported) == (was_mark, was_sources, False)
    elif name == "notice":
        assert timedelta(hours=23) < ahead(now_mark) <= timedelta(hours=24)
        assert (now_sources, reported) == (was_sources, True)
    elif name == "noticed":
        assert (now_mark, now_sources, reported) == (None, sorted(AUTHORIZED[:2]), True)
    else:
        assert (now_mark, now_sources, reported) == (None, was_sources, False)


def test_from_notice_to_the_end(cloud, tmp_path):
    """A group is reported once and left open; when its time has come it is closed and loses its mark."""
    deploy(cloud, tmp_path)
    load([group_of({"name": "web", "ingress": SSH}, 1)])
    group_id = "sg-00000000000000001"

    run(cloud, "notice")
    (message,) = messages(cloud)
    assert message["action"]["subject"] == "Open ingress: groups will be closed (123456789012 us-east-1)"
    assert message["resources"][0]["c7n:replaced-ingress"][0]["how"] == "preview"
    for name in POLICIES:
        run(cloud, name)
    assert messages(cloud) == []
    marked, sources = state(cloud, group_id)
    assert (marked is None, sources) == (False, ["0.0.0.0/0"])

    due = [{"Key": MARK, "Value": mark({"in": -1})}]
    cloud.session().client("ec2").create_tags(Resources=[group_id], Tags=due)
    run(cloud, "noticed")
    assert state(cloud, group_id) == (None, sorted(AUTHORIZED[:2]))
    (message,) = messages(cloud)
    assert message["action"]["subject"].startswith("Open ingress: 1 rule replaced in 1 group")


def test_the_hours_of_the_settings(cloud, tmp_path):
    """The settings say how long people have: the mark, the message and the next hour's notice follow."""
    deploy(cloud, tmp_path, notice_hours=2)
    hours = {"marked": 1, "put off": 3}
    load(
        group_of({"name": name, "ingress": SSH, "tags": {MARK: mark({"in": due})}}, number)
        for number, (name, due) in enumerate(hours.items(), 1)
    )
    run(cloud, "notice")
    (message,) = messages(cloud)
    assert [each["GroupName"] for each in message["resources"]] == ["put off"]
    assert "in 2 hours" in render(message)
    marked, _ = state(cloud, f"sg-{2:017x}")
    assert timedelta(hours=1) < ahead(marked) <= timedelta(hours=2)


def test_preview_of_the_settings(cloud, tmp_path):
    """With preview in the settings, a group whose time has come is reported, stays open, and keeps its mark."""
    deploy(cloud, tmp_path, preview=True)
    load([group({"name": "web", "mark": {"in": -1}}, 1)])
    before = state(cloud, f"sg-{1:017x}")
    run(cloud, "noticed")
    assert state(cloud, f"sg-{1:017x}") == before
    (message,) = messages(cloud)
    assert "would be" in render(message)


def test_a_group_that_cannot_be_closed(cloud, tmp_path):
    """A group that fails keeps no other from its notice, nor its mark on what is closed; at its time it fails aloud."""
    deploy(cloud, tmp_path, ["10.0.0.0/8"])
    halves = [{**SSH[0], "source": f"{first}.0.0.0/9"} for first in (20, 30, 40)]  # a /8 is wider than these
    load([group_of({"name": "web", "ingress": SSH}, 1), group_of({"name": "halves", "ingress": halves}, 2)])
    run(cloud, "notice")
    assert all(state(cloud, f"sg-{number:017x}")[0] for number in (1, 2))
    ((web, halves),) = (message["resources"] for message in messages(cloud))
    assert "c7n:failed-ingress" not in web
    assert "is wider than what it would replace" in halves["c7n:failed-ingress"][0]

    due = [{"Key": MARK, "Value": mark({"in": -1})}]
    cloud.session().client("ec2").create_tags(Resources=[f"sg-{number:017x}" for number in (1, 2)], Tags=due)
    with pytest.raises(FunctionError, match="is wider than what it would replace"):
        run(cloud, "noticed")
    assert state(cloud, f"sg-{1:017x}") == (None, ["10.0.0.0/8"])
    assert state(cloud, f"sg-{2:017x}")[0] == due[0]["Value"]


def test_a_group_that_cannot_be_read(cloud, tmp_path):
    """The notice of a group that could not be read says as well when it will be closed, and speaks of no undo."""
    deploy(cloud, tmp_path)
    load([group_of({"name": "web", "ingress": SSH}, 1)])
    with failing(cloud) as aws:
        aws.proxy.breaks(*rules({"service": "ec2", "operation": "DescribeSecurityGroupRules"}, [{"error": "denied"}]))
        run(aws, "notice")
    assert state(cloud, f"sg-{1:017x}")[0]
    (message,) = messages(cloud)
    reported = render(message)
    assert "They will be closed in 24 hours, unless" in reported
    assert "could not be read: allow it" in reported
    assert "Undo it" not in reported


def test_a_group_that_cannot_be_marked(cloud, tmp_path):
    """A group that has as many tags as EC2 allows keeps no other from its mark; it is named by the failure."""
    deploy(cloud, tmp_path)
    tags = {f"tag {number}": "" for number in range(50)}
    load([group_of({"name": f"group {n}", "ingress": SSH, "tags": tags if n == 2 else {}}, n) for n in (1, 2, 3)])
    with pytest.raises(FunctionError, match=r"so it stays open: sg-0*2: .*TagLimitExceeded"):
        run(cloud, "notice")
    assert [bool(state(cloud, f"sg-{number:017x}")[0]) for number in (1, 2, 3)] == [True, False, True]


def test_a_group_that_is_deleted_before_it_is_marked(cloud, tmp_path):
    """A group that is deleted after it was listed is no failure, and the others are marked."""
    load([group_of({"name": f"group {number}", "ingress": SSH}, number) for number in (1, 2)])
    session, happens = watched(cloud)
    mark = {"type": "mark-each-for-op", "tag": MARK, "op": "replace-ingress", "hours": 24}
    data = {"name": "a-policy", "resource": "aws.security-group", "filters": OPEN, "actions": [mark]}
    policy = loaded(data, tmp_path, session)
    policy.validate()
    deleted = iter(ids(1))

    def delete(**_):
        for group_id in deleted:
            cloud.session().client("ec2").delete_security_group(GroupId=group_id)

    happens.update({"before-call": {"CreateTags": delete}, "after-call": {}})
    policy()
    assert state(cloud, ids(2)[0])[0] is not None


def test_more_groups_than_at_most(cloud, tmp_path):
    """What at-most leaves open is reported and keeps its mark; the run does not fail, as Lambda would repeat it."""
    deploy(cloud, tmp_path, at_most=1)
    groups = [group({"name": f"group {number}", "mark": {"in": -1}}, number) for number in (1, 2)]
    load(groups)
    run(cloud, "noticed")
    (message,) = messages(cloud)
    assert (
        message["action"]["subject"]
        == "Open ingress: 1 group not closed, 1 rule replaced in 1 group (123456789012 us-east-1)"
    )
    closed, still_open = (state(cloud, each["GroupId"]) for each in groups)
    assert closed == (None, sorted(AUTHORIZED[:2]))
    assert still_open == (groups[1]["Tags"][0]["Value"], ["0.0.0.0/0"])

    load(groups)
    cloud.session().client("sqs").delete_queue(QueueUrl=make_queue(cloud))
    with pytest.raises(FunctionError, match="changed nothing: custodian-mailer cannot be reached, so nobody would be"):
        run(cloud, "noticed")
    assert [state(cloud, each["GroupId"])[1] for each in groups] == [["0.0.0.0/0"]] * 2


def test_groups_of_other_accounts(cloud, tmp_path):
    """A group that another account shares cannot be marked: it is not reported again every hour."""
    deploy(cloud, tmp_path)
    shared = {**group_of({"name": "shared", "ingress": SSH}, 1), "OwnerId": "999999999999"}
    load_groups([shared], account="123456789012")
    run(cloud, "notice")
    assert messages(cloud) == []


@pytest.mark.parametrize("fixed", [True, False])
def test_a_group_that_is_fixed_after_it_was_listed(cloud, tmp_path, fixed):
    """A group that somebody fixed after it was listed is not reported and gets no mark; the others do."""
    make_queue(cloud)
    load([group_of({"name": f"group {number}", "ingress": SSH}, number) for number in (1, 2)])
    ids = [f"sg-{number:017x}" for number in (1, 2)]
    ec2 = cloud.session().client("ec2")
    session, happens = watched(cloud)
    looks = []

    def fix(**_):
        looks.append(len(looks))
        if fixed and len(looks) == 2:
            ec2.revoke_security_group_ingress(GroupId=ids[0], SecurityGroupRuleIds=[*rules_of(ids[0])])

    happens.update({"before-call": {"DescribeSecurityGroups": fix}, "after-call": {}})
    notice = policy_named("open-ingress-notice")
    del notice["mode"]
    load_resources(("aws.security-group",))
    options = Config.empty(region="us-east-1", account_id=ACCOUNT, output_dir=str(tmp_path / "out"))
    (policy,) = PolicyCollection.from_data({"policies": [notice]}, options, lambda **_: session)
    policy.expand_variables(policy.get_variables({"authorized": AUTHORIZED}))
    policy.validate()
    policy()
    reported = {resource["GroupId"] for message in messages(cloud) for resource in message["resources"]}
    assert reported == set(ids[fixed:])
    assert {group_id for group_id in ids if state(cloud, group_id)[0]} == reported
