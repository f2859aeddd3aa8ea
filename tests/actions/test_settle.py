"""One group until it is as it should be: what is recorded, tried again, and reported if it fails."""

import json
import logging

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.aws import settle as settling
from c7n_ingress.aws.calls import ONCE
from c7n_ingress.aws.job import Job
from c7n_ingress.aws.read import LiveGroups, Reading
from c7n_ingress.aws.settle import LOOKS, MOST_STALE, foresee, settle
from c7n_ingress.decide.message import REPLACED, RESTORED, Outcome
from c7n_ingress.decide.plan import Plan, Replacement, replacement
from c7n_ingress.decide.rules import Match, Rule, Traffic, network
from tests.support.embedded import OPEN, aws_error, group_of, load, loaded, rules_of, source_of, watched

GROUP = "sg-00000000000000001"
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
TCP_22 = Traffic("tcp", 22, 22)
A, B, C, D = (network(f"198.18.{number}.0/24") for number in (1, 2, 3, 4))
ALL = network("0.0.0.0/0")
ANY_SOURCE = [{"type": "ingress", "Ports": [22]}]


class Settled:
    """A policy's action on one group, and what happens at its calls."""

    def __init__(self, cloud, folder, ingress, filters):
        load([group_of({"name": "web", "ingress": ingress}, 1)])
        session, self.happens = watched(cloud)
        self.happens.update({"before-call": {}, "after-call": {}})
        action = {"type": "replace-ingress", "authorized": [str(A), str(B)]}
        data = {"name": "a-policy", "resource": "aws.security-group", "filters": filters, "actions": [action]}
        self.policy = loaded(data, folder, session)
        (self.action,) = self.policy.resource_manager.actions
        self.groups = LiveGroups(self.policy.resource_manager, session.client("ec2"))
        self.writer = session.client("ec2", config=ONCE)
        self.exempted = []

    def settle(self, plan=None, deed=REPLACED, **reading):
        """Settle the group, and return the outcome; what is raised has it, too."""
        (read,) = self.groups.read([GROUP])
        outcome = Outcome(read.group)
        plan = plan or (lambda each: replacement(each.rules, each.matches, [A, B]))
        no_room = lambda each, group: (
            f"{each.source} in {group}",
            f"add {each.source}" if each.source in (B, D) else None,
        )
        job = Job(self.action, deed, plan, no_room, before=lambda of: self.exempted.append(len(of.records)))
        try:
            with self.policy.ctx:
                settle(job, self.groups, self.writer, read._replace(**reading), outcome)
        except BaseException as error:
            error.outcome = outcome
            raise
        return outcome

    def foresee(self, plan, *rules):
        """Return what a preview foresees of a group with these rules."""
        outcome = Outcome({"GroupId": GROUP}, failures=["before"])
        reading = Reading(outcome.group, selected=True, matches=set(), rules=rules, prefix_lists={}, since=0.0)
        with self.policy.ctx:
            foresee(Job(self.action, REPLACED, plan, None), reading, outcome)
        return outcome


@pytest.fixture(autouse=True)
def sleeps(monkeypatch):
    """Wait for nothing, and return for how many seconds something would be waited for."""
    waited = []
    monkeypatch.setattr(settling.time, "sleep", waited.append)
    monkeypatch.setattr("c7n_ingress.aws.read.OLDEST", 60.0)
    return waited


@pytest.fixture
def web(cloud, tmp_path):
    """Return what settles a group with these rules."""
    return lambda *ingress, filters=OPEN: Settled(cloud, tmp_path, ingress or [SSH], filters)


def changes(outcome):
    """Return what the records say was changed."""
    return [(record["how"], record["was"], record["now"]) for record in outcome.records]


def sources():
    """Return the sources of the group's rules."""
    return sorted(source_of(rule) for rule in rules_of(GROUP).values())


def failing(*errors):
    """Return what fails a call with one of the errors after another, and then no more."""
    left = list(errors)

    def fail(**_):
        if left:
            raise left.pop(0)

    return fail


MODIFY, REVOKE = "ModifySecurityGroupRules", "RevokeSecurityGroupIngress"
LOST = ConnectionClosedError(endpoint_url="ec2")


def test_a_group_that_is_closed(web, sleeps, caplog):
    """Each change is recorded once, by what the action calls it, and logged before anything else."""
    caplog.set_level(logging.INFO, "custodian.journal")
    one = web()
    outcome = one.settle()
    assert changes(outcome) == [("authorized", None, str(B)), ("modified", "0.0.0.0/0", str(A))]
    assert [json.loads(each.message) for each in caplog.records] == outcome.records
    assert (one.exempted, sleeps) == ([0], [])
    assert (outcome.failures, outcome.lacking, outcome.todo, [*outcome.left], [*outcome.back]) == ([], [], [], [], [])
    again = one.settle()
    assert (again.records, one.exempted) == ([], [0])


def test_the_words_of_an_undo(web):
    """A change is recorded in the action's own words."""
    assert [how for how, *_ in changes(web().settle(deed=RESTORED))] == ["restored", "restored"]


def test_a_group_that_does_not_match_any_more(web):
    """Nothing is planned for a group that the filters do not match any more."""
    one = web()
    assert one.settle(selected=False).records == []
    assert (sources(), one.exempted) == (["0.0.0.0/0"], [])


def test_what_is_left_and_refused(web):
    """What is left alone and what cannot be done are reported, beside what was done."""
    plan = lambda each: replacement(each.rules, each.matches, [A])._replace(left=["left"], refused=["refused"])
    outcome = web().settle(plan)
    assert (changes(outcome), outcome.left, outcome.failures) == (
        [("modified", "0.0.0.0/0", str(A))],
        ["left"],
        ["refused"],
    )


@pytest.mark.parametrize("times", [1, LOOKS - 1, LOOKS])
def test_a_group_that_changes_meanwhile(web, sleeps, times):
    """It is read and planned again three times, later each time, and then it is reported."""
    one = web()
    one.happens["before-call"][MODIFY] = failing(*[aws_error("InvalidPermission.Duplicate")] * times)
    outcome = one.settle(lambda each: replacement(each.rules, each.matches, [A]))
    assert sleeps == [1, 2, 3][:times]
    failed = times == LOOKS
    assert sources() == (["0.0.0.0/0"] if failed else [str(A)])
    text = "was changed by somebody else 3 times while it was being replaced"
    assert outcome.failures == ([text] if failed else [])
    assert len(outcome.records) == (0 if failed else 1)


def test_a_match_without_a_rule(web, sleeps):
    """A match that no rule answers to is looked for three times, and is reported; the rest is done."""
    missing = Match(Traffic("tcp", 23, 23), ALL)
    plan = lambda each: replacement(each.rules, {*each.matches, missing}, [A])
    outcome = web(filters=ANY_SOURCE).settle(plan)
    assert outcome.failures == ["tcp 23 from 0.0.0.0/0 matched, but EC2 lists no such rule"]
    assert (sources(), sleeps) == ([str(A)], [1, 2, 3])


def test_a_change_that_needs_another_one(web, sleeps):
    """A plan that is to be looked at again is; if it never ends, that is reported."""
    plan = lambda each: replacement(each.rules, each.matches, [A])._replace(look_again=True)
    outcome = web().settle(plan)
    assert (outcome.failures, sleeps, len(outcome.records)) == ([], [1], 1)
    rule = Rule("sgr-0", TCP_22, ALL, None)
    never = lambda each: Plan(authorize=[Replacement(rule, network(f"10.{len(each.rules)}.0.0/16"))], look_again=True)
    outcome = web().settle(never)
    assert (outcome.failures, sleeps) == (["does not show what was changed"], [1, 1, 2, 3])


def test_a_throttled_call(web, sleeps, monkeypatch):
    """It is tried again, ever later, as long as c7n's own retry would; nothing counts as a look."""
    monkeypatch.setattr("c7n.utils.random.random", lambda: 1.0)
    one = web()
    throttled = aws_error("RequestLimitExceeded", status=503)
    one.happens["before-call"][MODIFY] = failing(*[throttled] * 7)
    outcome = one.settle()
    assert (outcome.failures, sources()) == ([], [str(A), str(B)])
    assert len(sleeps) == 7
    assert sleeps == sorted(sleeps)
    again = web()
    again.happens["before-call"]["AuthorizeSecurityGroupIngress"] = failing(*[throttled] * 99)
    sleeps.clear()
    with pytest.raises(PolicyExecutionError, match=r"^An error occurred \(RequestLimitExceeded\)"):
        again.settle()
    assert 64 <= sleeps[-1] <= 128
    assert len(sleeps) == 8


def test_readings_that_are_always_too_old(web, sleeps, monkeypatch):
    """A group is read again eleven times; then it is reported with why."""
    monkeypatch.setattr("c7n_ingress.aws.read.OLDEST", -1.0)
    one, planned = web(), []

    def plan(each):
        planned.append(each)
        return replacement(each.rules, each.matches, [A])

    with pytest.raises(PolicyExecutionError, match=r"^the reading was older than 1 s .* is too slow$") as raised:
        one.settle(plan)
    assert len(planned) == MOST_STALE + 1
    assert (sleeps, raised.value.__cause__) == ([], None)


@pytest.mark.parametrize("done", [True, False])
def test_an_answer_that_is_lost(web, sleeps, done):
    """What EC2 has done all the same is found and recorded once; what it has not done is done again."""
    one = web()
    one.happens["after-call" if done else "before-call"][MODIFY] = failing(LOST)
    outcome = one.settle()
    assert changes(outcome) == [("authorized", None, str(B)), ("modified", "0.0.0.0/0", str(A))]
    assert (sources(), outcome.failures, sleeps) == ([str(A), str(B)], [], [1])


def test_answers_that_are_always_lost(web, sleeps):
    """After three of them the group is reported, with the reason; nothing is recorded of what was not done."""
    one = web()
    one.happens["before-call"][MODIFY] = failing(*[LOST] * 3)
    outcome = one.settle(lambda each: replacement(each.rules, each.matches, [A]))
    assert outcome.failures == [
        'EC2\'s answer was lost: Connection was closed before we received a valid response from endpoint URL: "ec2".'
    ]
    assert (outcome.records, sleeps) == ([], [1, 2, 3])


def test_a_group_that_is_deleted_meanwhile(web):
    """There is nothing more to do, to record or to report; its exemption went with it."""
    one = web()

    def delete(**_):
        one.writer.delete_security_group(GroupId=GROUP)
        raise LOST

    one.happens["after-call"][MODIFY] = delete
    outcome = one.settle(lambda each: replacement(each.rules, each.matches, [A]))
    assert (outcome.records, outcome.failures, outcome.lacking, outcome.until) == ([], [], [], None)


def test_a_group_that_cannot_be_read_again(web):
    """The error is raised, and what EC2 has perhaps done is recorded as such."""
    one = web()
    one.happens["after-call"][MODIFY] = failing(LOST)

    def plan(each):
        def distort(parsed, **_):
            del parsed["SecurityGroupRules"][0]["IpProtocol"]

        one.happens["after-call"]["DescribeSecurityGroupRules"] = distort
        return replacement(each.rules, each.matches, [A])

    with pytest.raises(KeyError, match="IpProtocol") as raised:
        one.settle(plan)
    assert changes(raised.value.outcome) == [("perhaps modified", "0.0.0.0/0", str(A))]


def test_a_run_that_is_stopped(web):
    """What EC2 has perhaps done when somebody stops the run is recorded as such, after what it has done."""
    one = web()
    one.happens["after-call"][MODIFY] = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as raised:
        one.settle()
    assert changes(raised.value.outcome) == [("authorized", None, str(B)), ("perhaps modified", "0.0.0.0/0", str(A))]


def test_what_was_perhaps_done_before(web):
    """It is not forgotten when later calls succeed and then one fails."""
    one = web(SSH, {**SSH, "source": "10.0.0.0/8"})
    one.happens["before-call"].update(
        {REVOKE: failing(LOST), MODIFY: failing(aws_error("UnauthorizedOperation", status=403))}
    )
    plans = [
        lambda _, other: Plan(revoke=[other]),
        lambda rule, _: Plan([Replacement(rule, B)], [Replacement(rule, A)]),
    ]
    in_order = lambda rules: sorted(rules, key=lambda each: each.source != ALL)
    with pytest.raises(ClientError, match="UnauthorizedOperation") as raised:
        one.settle(lambda each: plans.pop(0)(*in_order(each.rules)))
    assert changes(raised.value.outcome) == [("authorized", None, str(B)), ("perhaps revoked", "10.0.0.0/8", None)]


def test_a_full_group(web, cloud):
    """What finds no room is reported with its command, once; the open rule is replaced all the same."""
    one = web()
    cloud.ec2.rules_per_group = 1
    one.happens["before-call"][MODIFY] = failing(aws_error("RequestLimitExceeded", status=503))
    outcome = one.settle(lambda each: replacement(each.rules, each.matches, [A, C, B, D]))
    assert outcome.lacking == [f"{each} in {GROUP}" for each in (C, B, D)]
    assert outcome.todo == [f"add {B}", f"add {D}"]
    assert (sources(), outcome.failures) == ([str(A)], [])
    assert [call.action for call in cloud.calls].count("AuthorizeSecurityGroupIngress") == 2


def test_room_that_is_made(web, cloud):
    """What found no room is added once a rule was removed, also where the answer to that was lost."""
    one = web(SSH, {**SSH, "source": str(A)})
    cloud.ec2.rules_per_group = 2
    one.happens["after-call"][REVOKE] = failing(LOST)
    plan = lambda each: Plan(
        authorize=[Replacement(each.rules[0], B)], revoke=[r for r in each.rules if r.source == ALL]
    )
    outcome = one.settle(lambda each: plan(each) if each.selected and each.matches else Plan())
    assert (sources(), outcome.lacking, outcome.todo) == ([str(A), str(B)], [], [])
    assert changes(outcome) == [("revoked", "0.0.0.0/0", None), ("authorized", None, str(B))]


def test_what_is_back_already(web):
    """What was there before the run is reported as back, and the group is exempted; what the run restored is not."""
    one = web()
    match = Match(TCP_22, ALL)
    outcome = one.settle(lambda _: Plan(back=[match]))
    assert (outcome.back, one.exempted) == ([match], [0])
    plan = lambda each: replacement(each.rules, each.matches, [A])._replace(
        look_again=True, back=[Match(TCP_22, A), match]
    )
    outcome = web(filters=ANY_SOURCE).settle(plan)
    assert outcome.back == [match]


def test_what_is_foreseen(web):
    """A preview records what would be added, changed and removed, in the order of the calls, and changes nothing."""
    one = web()
    rule, other, gone = (Rule(f"sgr-{n}", TCP_22, each, "d") for n, each in enumerate((ALL, A, B)))
    plan = Plan([Replacement(rule, A)], [Replacement(rule, B)], [gone], ["left"], ["refused"], back=[other.match])
    outcome = one.foresee(lambda _: plan, rule, other, gone)
    assert changes(outcome) == [("preview", None, str(A)), ("preview", "0.0.0.0/0", str(B)), ("preview", str(B), None)]
    assert [record["rule"] for record in outcome.records] == [None, "sgr-0", "sgr-2"]
    assert {record["description"] for record in outcome.records} == {"d"}
    assert (outcome.left, outcome.failures, outcome.back) == (["left"], ["before", "refused"], [other.match])


def test_what_is_foreseen_of_what_comes_next(web):
    """A preview goes on from what would be changed, three times at most, and reports what is back at first."""
    one = web()
    rules = [Rule(f"sgr-{n}", TCP_22, network(f"10.{n}.0.0/16"), None) for n in range(5)]

    def plan(reading, *, more=True):
        first, *_ = reading.rules
        return Plan(revoke=[first], look_again=more, left=[first.id], back=[each.match for each in reading.rules])

    outcome = one.foresee(plan, *rules)
    assert [record["rule"] for record in outcome.records] == ["sgr-0", "sgr-1", "sgr-2"]
    assert (outcome.left, len(outcome.back)) == (["sgr-2"], 5)
    once = one.foresee(lambda reading: plan(reading, more=False), *rules)
    assert [record["rule"] for record in once.records] == ["sgr-0"]
    asked = []
    one.foresee(lambda reading: asked.append(reading) or Plan(look_again=True), *rules)
    assert len(asked) == 2
