"""All groups of a run: which comes first, what fails, what is logged, and what later actions get."""

import json
import logging
import re

import pytest
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.actions import replace_ingress
from c7n_ingress.aws import journal
from c7n_ingress.aws.calls import GONE
from c7n_ingress.decide.message import REPLACED
from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from tests.support.embedded import (
    ACCOUNT,
    NOTIFY,
    OPEN,
    aws_error,
    group_of,
    ids,
    load,
    loaded,
    made_changes,
    make_queue,
    messages,
    rules_of,
    source_of,
    watched,
)

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
WEB = {**SSH, "ports": 8443}
WIDE = [{**SSH, "source": "30.0.0.0/8"}, {**SSH, "source": "20.0.0.0/9"}]  # open together
FINDER = {"filters": [{"type": "open-ingress"}], "authorized": ["30.0.0.0/8"]}
DAILY = {"type": "periodic", "schedule": "rate(1 day)", "role": "arn:aws:iam::123456789012:role/custodian"}
NAME = "AWS_LAMBDA_LOG_GROUP_NAME"


class Run:
    """A run of the action: the groups that it was given, what it raised, and what is left for later actions."""

    def __init__(self, cloud, folder, groups, before=None, after=None, filters=OPEN, mode=None, **action):
        make_queue(cloud)
        load([group_of({"name": f"g{number}", "ingress": each}, number) for number, each in enumerate(groups, 1)])
        session, happens = watched(cloud)
        happens.update({"before-call": {}, "after-call": {}})
        action = {"type": "replace-ingress", "authorized": ["198.18.7.0/24"], "notify": NOTIFY, **action}
        data = {"name": "a-policy", "resource": "aws.security-group", "filters": filters}
        data["actions"] = [{key: value for key, value in action.items() if value is not None}]
        policy = loaded(data | ({"mode": mode} if mode else {}), folder, session)
        policy.validate()
        (action,) = policy.resource_manager.actions
        self.error, self.records = "", []
        with policy.ctx:
            self.listed = policy.resource_manager.resources()
            self.resources = list(self.listed)
            happens.update({"before-call": before or {}, "after-call": after or {}})
            try:
                self.records = action.process(self.resources)
            except PolicyExecutionError as failure:
                self.error = str(failure)
        sent = [each for message in messages(cloud) for each in message["resources"]]
        self.reported = {each["GroupId"]: each for each in sent}
        self.failures = {
            key: each["c7n:failed-ingress"] for key, each in self.reported.items() if "c7n:failed-ingress" in each
        }


def is_open(number):
    """Whether a group is open."""
    return "0.0.0.0/0" in {source_of(rule) for rule in rules_of(ids(number)[0]).values()}


@pytest.fixture
def run(cloud, tmp_path, caplog):
    """Run the action on groups with these rules; the log has everything from INFO on."""
    caplog.set_level(logging.INFO)
    return lambda *groups, **more: Run(cloud, tmp_path, groups, **more)


def gone(parsed, **_):
    """Leave the second group out of what EC2 lists."""
    parsed["SecurityGroups"] = [each for each in parsed["SecurityGroups"] if each["GroupName"] != "g2"]


def test_what_later_actions_get(run):
    """Later actions and their templates get all groups, each with its records, if the run does not fail."""
    done = run([SSH], [SSH], [WEB], after={"DescribeSecurityGroups": gone})
    assert [each["GroupId"] for each in done.resources] == [each["GroupId"] for each in done.listed]
    records = {each["GroupId"]: each[REPLACED.annotation] for each in done.resources}
    assert {key: len(each) for key, each in records.items()} == dict(zip(ids(1, 2, 3), (1, 0, 1), strict=True))
    assert done.records == records[ids(1)[0]] + records[ids(3)[0]]
    assert (done.error, {*done.reported}) == ("", {*ids(1, 3)})


def test_what_later_actions_get_of_a_preview(run):
    """After a preview that notifies, later actions get the reported groups alone; without notify they get all."""
    for notify, left in ((NOTIFY, ids(1)), (None, ids(1, 2))):
        done = run([SSH], [SSH], after={"DescribeSecurityGroups": gone}, preview=True, notify=notify)
        assert sorted(each["GroupId"] for each in done.resources) == left
        assert [record["how"] for record in done.records] == ["preview"]
        assert is_open(1)


def test_what_later_actions_get_of_a_limited_run(run, caplog):
    """A deployed run that has reported what stays open does not fail; later actions get what was closed alone."""
    done = run([WEB], [SSH], [SSH], **{"at-most": 1}, mode=DAILY)
    assert [each["GroupId"] for each in done.resources] == ids(2)
    assert (done.error, [is_open(n) for n in (1, 2, 3)]) == ("", [True, False, True])
    says = "2 more groups are open: one run changes 1 (at-most), the worst first. Look at what is open, then run the "
    assert f"replace-ingress: {says}policy again, or raise at-most" in caplog.messages
    assert done.reported[ids(2)[0]]["c7n:waiting-ingress"] == 2


def test_a_limited_run_in_which_a_group_fails(run):
    """A deployed run that leaves groups open does not fail for another group either: both are in the message."""

    def fail(params, **_):
        if params["body"]["GroupId"] == ids(1)[0]:
            raise aws_error("UnauthorizedOperation")

    done = run([SSH], [SSH], [SSH], **{"at-most": 1}, mode=DAILY, before={"ModifySecurityGroupRules": fail})
    assert (done.error, [is_open(n) for n in (1, 2, 3)]) == ("", [True, False, True])
    assert {*done.failures} == {*ids(1)}
    assert done.reported[ids(1)[0]]["c7n:waiting-ingress"] == 1


@pytest.mark.parametrize("more", [{}, {"mode": DAILY, "before": {"SendMessage": None}}], ids=["local", "unsent"])
def test_a_limited_run_that_fails(run, more):
    """On a machine, or if nobody hears of it, a run that leaves groups open fails."""
    if more:
        more = {**more, "before": {"SendMessage": lambda **_: (_ for _ in ()).throw(aws_error("AccessDenied"))}}
    done = run([SSH], [WEB], **{"at-most": 1}, **more)
    says = "1 more group is open: one run changes 1 (at-most), the worst first"
    if more:
        assert done.error.endswith("(and 1 more, see the log)")
        assert done.error.startswith("replace-ingress: the notification could not be sent")
    else:
        assert done.error.startswith(f"replace-ingress: {says}")
        assert "more, see the log" not in done.error
    assert len(done.resources) == 2


def test_the_worst_come_first(run, caplog):
    """Groups come by what is open in them and then by their ids; one that cannot be read comes last, and fails."""

    def distort(parsed, **_):
        for each in parsed["SecurityGroups"]:
            if each["GroupName"] == "g1":
                each["IpPermissions"][0]["IpRanges"][0]["CidrIp"] = "everywhere"

    finder = [{"type": "open-ingress"}]
    done = run([SSH], [WEB], [SSH], [SSH], [WEB], filters=finder, after={"DescribeSecurityGroups": distort})
    journal_lines = [json.loads(each.getMessage()) for each in caplog.records if each.name == journal.log.name]
    assert [each["group"] for each in journal_lines] == ids(3, 4, 2, 5)
    assert [is_open(n) for n in range(1, 6)] == [True, False, False, False, False]
    assert done.error.startswith(f"replace-ingress: {ids(1)[0]}: could not be read: ")


def test_what_does_not_count_against_the_limit(run):
    """What cannot be changed, and what needs no change, is reported, and keeps nothing worse from being closed."""
    foreign = {**group_of({"name": "theirs", "ingress": [SSH]}, 9), "OwnerId": "999999999999"}
    load_groups([foreign], account=ACCOUNT)
    done = run(WIDE, [WEB], [WEB], **FINDER, **{"at-most": 2})
    assert (done.error, [is_open(n) for n in (2, 3)]) == ("", [False, False])
    assert {*done.reported} == {*ids(1, 2, 3, 9)}
    skipped = "belongs to account 999999999999, which shares its VPC: only that account can change it"
    assert done.reported[ids(9)[0]]["c7n:skipped-ingress"] == skipped
    assert done.failures == {}


def test_what_fails(run, caplog):
    """A group that fails is reported with the reason, the others go on, and the run raises the first of them."""

    def fail(params, **_):
        reason = {
            ids(2)[0]: aws_error("UnauthorizedOperation"),
            ids(3)[0]: ValueError("odd"),
            ids(4)[0]: KeyError("odd"),
        }
        if failure := reason.get(params["body"]["GroupId"]):
            raise failure

    def distort(parsed, **_):
        for rule in parsed["SecurityGroupRules"]:
            if rule["GroupId"] == ids(5)[0]:
                del rule["IpProtocol"]

    done = run(*[[SSH]] * 5, before={"ModifySecurityGroupRules": fail}, after={"DescribeSecurityGroupRules": distort})
    lost = "EC2's answer was lost: odd"
    denied = "allow it, as the stack does, or find the service control policy that denies it: An error occurred"
    assert {key: [text.replace("'odd'", "odd") for text in each] for key, each in done.failures.items()} == {
        ids(2)[0]: [f"{denied} (UnauthorizedOperation) when calling the Call operation: no"],
        ids(3)[0]: [lost],
        ids(4)[0]: [lost],
        ids(5)[0]: ["could not be read: KeyError('IpProtocol')"],
    }
    assert done.error == f"replace-ingress: {ids(2)[0]}: {done.failures[ids(2)[0]][0]} (and 3 more, see the log)"
    assert f"replace-ingress: {ids(5)[0]} could not be read" in caplog.messages
    assert f"replace-ingress: {ids(2)[0]} failed" in caplog.messages
    assert all(
        f"replace-ingress: {key}: {text}" in caplog.messages
        for key, (text,) in done.failures.items()
        if key != ids(4)[0]
    )
    assert not is_open(1)


def test_a_lot_that_cannot_be_read(run):
    """An error of EC2 is reported in its own words, for each group."""
    calls = []

    def fail(**_):
        calls.append(1)
        raise aws_error("UnauthorizedOperation")

    done = run([SSH], [SSH], before={"DescribeSecurityGroupRules": fail})
    assert {key: text[:72] for key, (text,) in done.failures.items()} == dict.fromkeys(
        ids(1, 2), "could not be read: allow it, as the stack does, or find the service cont"
    )


def test_failures_of_a_preview(run, caplog):
    """A preview reports what would fail and does not fail; without notify it fails."""
    narrow = [{**SSH, "source": "198.51.100.7/32"}]
    any_ssh = {"filters": [{"type": "ingress", "Ports": [22]}], "preview": True}
    done = run(narrow, **any_ssh)
    ((text,),) = done.failures.values()
    assert (done.error, "is wider than what it would replace" in text) == ("", True)
    assert f"replace-ingress: {ids(1)[0]}: {text}" in caplog.messages
    assert run(narrow, notify=None, **any_ssh).error == f"replace-ingress: {ids(1)[0]}: {text}"


def test_a_group_that_is_gone(cloud, run):
    """A group that is deleted meanwhile is no failure, and is not reported."""

    def delete(**_):
        cloud.session().client("ec2").delete_security_group(GroupId=ids(1)[0])

    done = run([SSH], before={"ModifySecurityGroupRules": delete})
    assert (done.error, done.records, done.reported) == ("", [], {})


def test_a_group_that_ec2_does_not_know_for_a_moment(run):
    """EC2 is eventually consistent: a group that it does not know once is read again, and closed."""
    answers = iter([aws_error("InvalidGroup.NotFound")])

    def fail_once(**_):
        for error in answers:
            raise error

    done = run([SSH], before={"ModifySecurityGroupRules": fail_once})
    assert (done.error, [record["how"] for record in done.records]) == ("", ["modified"])


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "InvalidGroup.NotFound"])
def test_a_tag_that_cannot_be_removed(run, code):
    """A closed group is reported as closed, with the tag that stays on it, and the run fails; not so a deleted one."""

    def refuse(**_):
        raise aws_error(code, "DeleteTags", "no", 403)

    done = run([SSH], before={"DeleteTags": refuse}, untag="open-ingress-notice")
    (resource,) = done.reported.values()
    assert (resource["c7n:state-ingress"]["name"], resource.get("c7n:failed-ingress")) == ("closed", None)
    says = "the tag open-ingress-notice could not be removed: remove it, or nobody gets notice"
    if code in GONE:
        assert (done.error, resource.get("c7n:noted-ingress")) == ("", None)
    else:
        assert says in done.error
        assert says in resource["c7n:noted-ingress"][0]


def test_which_groups_lose_their_tag(cloud, run):
    """A group loses its tag once it is closed, and keeps it while something in it is left open."""
    for rules, removed in (([SSH], 1), (WIDE, 0)):
        cloud.calls.clear()
        run(rules, untag="open-ingress-notice", **FINDER)
        assert [call.action for call in cloud.calls].count("DeleteTags") == removed


def test_a_group_that_cannot_be_planned_when_the_limit_is_reached(run, monkeypatch):
    """Beyond at-most, a group whose plan fails is reported with the reason, and does not count as one that waits."""
    plan = replace_ingress.replacement

    def odd(rules, *arguments, **named):
        if any(each.traffic.from_port == WEB["ports"] for each in rules):
            raise ValueError("nobody can plan this")
        return plan(rules, *arguments, **named)

    monkeypatch.setattr(replace_ingress, "replacement", odd)
    done = run([SSH], [WEB], **{"at-most": 1})
    assert [is_open(n) for n in (1, 2)] == [False, True]
    assert done.failures == {ids(2)[0]: ["nobody can plan this"]}


def test_a_run_that_is_stopped(cloud, run, caplog):
    """What a run has done until somebody stops it is reported, and nothing more is looked up."""

    def stop(params, **_):
        if params["body"]["GroupId"] == ids(2)[0]:
            raise KeyboardInterrupt("the time is over")

    with pytest.raises(KeyboardInterrupt):
        run([SSH], [SSH], [SSH], before={"ModifySecurityGroupRules": stop}, behind=True)
    resources = {each["GroupId"]: each for message in messages(cloud) for each in message["resources"]}
    assert {key: each.get("c7n:failed-ingress") for key, each in resources.items()} == {
        ids(1)[0]: None,
        ids(2)[0]: ["was not finished: the time is over"],
    }
    assert "DescribeNetworkInterfaces" not in {call.action for call in cloud.calls}
    assert "replace-ingress: stopped; 2 of 3 groups were looked at" in caplog.messages
    assert any("198.18.7.0/24  closed" in message for message in caplog.messages)


def table(caplog):
    """Return the lines of the table at the end of a local run."""
    heads = [each for each in caplog.messages if re.match(r"replace-ingress:\ngroup +rule", each)]
    return [line for each in heads for line in each.splitlines()[2:]]


def test_the_table_of_a_local_run(run, caplog, monkeypatch):
    """A local run ends with a table of what became of each rule; a Lambda and a run without groups have none."""
    run([SSH], [WEB], preview=True)
    assert [line.split()[-3:] for line in table(caplog)] == [["would", "be", "closed"]] * 2
    caplog.clear()
    run([SSH])
    first, second = table(caplog)
    assert first == f'{ids(1)[0]} "g1"  TCP 22 (SSH)  0.0.0.0/0 -> 198.18.7.0/24  closed'
    assert second.startswith(ids(2)[0])
    caplog.clear()
    run([])
    assert table(caplog) == []
    monkeypatch.setenv(NAME, "/aws/lambda/custodian-a-policy")
    assert len(run([SSH]).records) == 1
    assert table(caplog) == []


@pytest.mark.parametrize("local", [True, False])
def test_records_on_a_terminal(run, monkeypatch, local):
    """The terminal of a local run shows no records, and a Lambda's log does. A process may run many policies."""
    if not local:
        monkeypatch.setenv(NAME, "/aws/lambda/custodian-a-policy")
    terminal = logging.StreamHandler()
    lines = []
    monkeypatch.setattr(terminal, "emit", lines.append)
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers, terminal])
    run([SSH])
    assert (journal.log.name in {line.name for line in lines}) is not local
    assert "custodian.actions" in {line.name for line in lines} or not local
    run([])
    assert len(terminal.filters) == local


def test_what_is_left_alone_is_logged(run, caplog):
    """What was not changed is logged, with the reason."""
    load_groups([{**group_of({"name": "theirs", "ingress": [SSH]}, 9), "OwnerId": "999999999999"}], account=ACCOUNT)
    run(WIDE, **FINDER)
    left = [each for each in caplog.messages if ": left alone: " in each]
    assert [each.partition(": left alone: ")[0] for each in left] == [f"replace-ingress: {each}" for each in ids(1, 9)]
    assert "belongs to account 999999999999" in left[1]
    assert "tcp 22 from 30.0.0.0/8: it is authorized, and so wide that the group stays open" in left[0]


def test_how_far_it_is(cloud, run, caplog):
    """The log says each hundred groups how far the run is."""
    done = run(*[[SSH]] * 101, preview=True, notify=None)
    assert len(done.records) == 101
    assert [each for each in caplog.messages if "looked at" in each] == ["replace-ingress: looked at 100 of 101 groups"]
    assert made_changes(cloud) == []
