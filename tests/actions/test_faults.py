import asyncio
import json
import logging
import os
import signal
import subprocess
from contextlib import suppress

import pytest
from aiohttp import web

from tests.support.embedded import (
    CUSTODIAN,
    NOTIFY,
    act,
    group_of,
    load,
    make_queue,
    messages,
    records,
    rules_of,
    shape,
    shipped,
    source_of,
)
from tests.support.faults import CASES, nothing, process, rules

AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"]
TIMES = {"once": {"times": 1}, "twice": {"times": 2}, "for good": {}}
PATIENCE = 0.5
"""How many seconds a client waits for an answer that is kept from it."""

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}
RDP = {"protocol": "tcp", "ports": 3389, "source": "0.0.0.0/0", "description": "rdp"}
TWINS = [{**RDP, "source": source, "description": "twin"} for source in AUTHORIZED[:2]]
GROUP = group_of({"name": "needs one call of each kind", "ingress": [SSH, RDP, *TWINS]}, 1)
BYSTANDER = group_of({"name": "bystander", "ingress": TWINS}, 2)
RIGHT = sorted(
    (rule["protocol"], rule["ports"], rule["ports"], source, rule["description"])
    for rule, source in [(SSH, AUTHORIZED[0]), (SSH, AUTHORIZED[1]), *((twin, twin["source"]) for twin in TWINS)]
)


@pytest.fixture
def aws(cloud, failing_aws):
    """Return AWS behind the proxy, with no fault yet, the groups and the queue."""
    failing_aws.proxy.heal()
    failing_aws.attempts, failing_aws.patience = 3, 60
    make_queue(cloud)
    load([GROUP, BYSTANDER])
    failing_aws.session().client("ec2").describe_security_groups()  # the first answer takes longer than PATIENCE
    return failing_aws


@pytest.fixture
def run(cloud, aws, tmp_path, caplog, monkeypatch):
    """Run the action in this process; neither botocore nor Cloud Custodian waits before it tries again."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    caplog.set_level(logging.INFO, "custodian.journal")
    return lambda: Run(cloud, aws, tmp_path, caplog)


class Run:
    """One run: the rules before and after, what was logged and reported, and the error that it ended in."""

    def __init__(self, cloud, aws, folder, caplog):
        caplog.clear()
        self.before, self.error = rules_of(GROUP["GroupId"]), None
        try:
            act(aws, folder, authorized=AUTHORIZED, notify=NOTIFY)
        except Exception as error:  # noqa: BLE001 - which one is for the test to say
            self.error = error
        self.after = rules_of(GROUP["GroupId"])
        self.logged = sorted(change(json.loads(line)) for line in caplog.messages if line.startswith("{"))
        self.resources = [resource for message in messages(cloud) for resource in message["resources"]]
        self.told = {change(record) for resource in self.resources for record in resource["c7n:replaced-ingress"]}

    @property
    def made(self):
        """What really changed: rule ids, the source that each had, the source that it has."""
        return made(self.before, self.after)

    @property
    def is_right(self):
        """Whether the group is as it should be."""
        return sorted(map(shape, self.after.values())) == RIGHT


def made(before, after):
    """Return what changed between two looks at the rules."""
    was, now = ({i: source_of(rule) for i, rule in rules.items()} for rules in (before, after))
    return sorted((i, was.get(i, ""), now.get(i, "")) for i in was | now if was.get(i) != now.get(i))


def change(record):
    """Return what a record says that changed."""
    return record["rule"], record["was"] or "", record["now"] or ""


CHANGING = ("authorize", "modify", "revoke")


def broken():
    """List each fault of each call: rules, and whether a run finishes in spite of it, or None if either may be."""
    single = [
        pytest.param(
            list(rules(call, [fault | times])),
            fix(call, fault, name),
            id=f"{call['name']}-{fault['name']}-{name}",
            # As once, and as an internal error: botocore tries again.
            marks=[pytest.mark.soak] if name == "twice" or fault["name"] == "unavailable" else [],
        )
        for call in CASES["calls"]
        for fault in CASES["faults"]
        for name, times in TIMES.items()
    ]
    return single + [
        pytest.param(
            list(rules(call, each["faults"])),
            None,
            id=f"{call['name']}-{each['name']}",
            marks=[] if call["name"] in CHANGING else [pytest.mark.soak],  # a call that reads is made again
        )
        for call in CASES["calls"]
        for each in CASES["sequences"]
    ]


def fix(call, fault, times):
    """Whether further attempts make up for a fault, or another look at what came of a change.

    None where the client waits for an answer: a busy machine may keep it waiting once more.
    """
    if fault["name"] == "reset after" and call["name"] in CHANGING:
        return True
    if fault["name"].startswith("unanswered"):
        return None
    return times != "for good" and fault["name"] != "denied"


@pytest.mark.parametrize(("rules", "mends"), broken())
def test_any_fault_of_any_call(aws, run, rules, mends):
    """Whatever befalls a call, the run finishes right or fails, its log has what it did, and the next run finishes."""
    if any("timeout_ms" in rule or "bandwidth_kbps" in rule.get("response", {}) for rule in rules):
        aws.patience, aws.attempts = PATIENCE, 2
    aws.proxy.breaks(*rules)
    first = run()
    assert aws.proxy.fired
    assert first.logged == first.made
    assert first.told <= set(first.logged)
    assert first.error or (first.is_right and first.told == set(first.logged))
    if mends is not None:
        assert (first.error is None) == mends

    if first.is_right and not first.error:
        return  # nothing is left to a next run: test_somebody_else_at_any_call has one
    aws.proxy.heal()
    aws.patience, aws.attempts = 60, 3
    second = run()
    assert second.error is None
    assert second.is_right
    assert second.logged == second.made
    assert second.told == set(second.logged)


CALLS_FOR_GROUPS = ["read groups", "read rules", "authorize", "modify", "revoke"]


@pytest.mark.parametrize(
    "call", [call for call in CASES["calls"] if call["name"] in CALLS_FOR_GROUPS], ids=CALLS_FOR_GROUPS
)
def test_what_is_forbidden_is_reported_with_its_fix(aws, run, call):
    """The message of a group that AWS forbids to read or change says what is forbidden, and what to do about it."""
    aws.proxy.breaks(*rules(call, [{"error": "denied"}]))
    failed = run()
    (text,) = {said for each in failed.resources for said in each.get("c7n:failed-ingress", [])}
    assert text.removeprefix("could not be read: ").startswith("allow it, as the stack does, or find")
    assert call["operation"] in text
    assert text in str(failed.error)


def test_an_answer_that_comes_slowly_is_whole(aws, cloud):
    """What the proxy holds back comes in the end, to the letter, for a client that waits for it."""
    call = {"service": "ec2", "operation": "DescribeSecurityGroups"}
    aws.proxy.breaks(*rules(call, [{"response": {"bandwidth_kbps": 100}}]))
    seen, told = (each.session().client("ec2").describe_security_groups() for each in (aws, cloud))
    assert aws.proxy.fired
    assert seen["SecurityGroups"] == told["SecurityGroups"]


@pytest.mark.parametrize("call", ["authorize", "modify", "revoke"])
@pytest.mark.parametrize("fault", [{"response": {"abort_bytes": 0}, "times": 1}, {"response": {"abort_bytes": 0}}])
def test_an_answer_lost_while_describes_lag(aws, cloud, run, call, fault):
    """What EC2 did without an answer is recorded even if EC2 shows it later only."""
    (broken_call,) = (each for each in CASES["calls"] if each["name"] == call)
    aws.proxy.breaks(*rules(broken_call, [fault]))
    cloud.ec2.lag = 1
    first = run()
    cloud.ec2.lag = 0
    first.after = rules_of(GROUP["GroupId"])
    assert first.logged == first.made


def test_what_somebody_else_did_is_not_claimed(aws, cloud, run):
    """If a call was throttled, and somebody meanwhile does what it was to do, that is not recorded as the run's own."""
    ec2 = cloud.session().client("ec2")
    (rdp,) = (i for i, rule in rules_of(GROUP["GroupId"]).items() if shape(rule)[3:] == ("0.0.0.0/0", "rdp"))

    async def revoke(call):
        if call == "RevokeSecurityGroupIngress":
            aws.proxy.passing(nothing)
            ec2.revoke_security_group_ingress(GroupId=GROUP["GroupId"], SecurityGroupRuleIds=[rdp])

    aws.proxy.breaks(*rules(CASES["calls"][5], [{"error": "throttled", "times": 1}]))
    aws.proxy.passing(revoke)
    first = run()
    assert first.error is None
    assert first.is_right
    assert rdp not in {rule_id for rule_id, _, _ in first.logged}


# -- at every moment

CALLS = [
    "DescribeSecurityGroups",
    "DescribeSecurityGroups",
    "DescribeSecurityGroupRules",
    "AuthorizeSecurityGroupIngress",
    "ModifySecurityGroupRules",
    "RevokeSecurityGroupIngress",
    "ListAccountAliases",
    "SendMessage",
]
"""What a run on these groups calls, in order."""


class At:
    """Make something happen when the n-th call comes in, which is to be this one."""

    def __init__(self, number, happens):
        self.number, self.happens, self.calls = number, happens, []

    async def __call__(self, call):
        """Count, and do it if it is the one."""
        self.calls.append(call)
        if len(self.calls) == self.number:
            self.happens()


def test_the_calls_of_a_run(aws, run):
    """A run makes the calls that the tests below break off at, and no others."""
    calls = At(None, None)
    aws.proxy.passing(calls)
    assert run().error is None
    assert calls.calls == CALLS


@pytest.mark.parametrize("number", range(1, len(CALLS) + 1), ids=lambda number: f"{number}-{CALLS[number - 1]}")
def test_killed_at_any_call(aws, cloud, run, tmp_path, number):
    """Killed before any call, a run has locked nobody out and has logged what it did, and the next run finishes."""

    def kill():
        os.kill(killed.pid, signal.SIGKILL)
        raise web.HTTPServiceUnavailable

    aws.proxy.passing(At(number, kill))
    before = rules_of(GROUP["GroupId"])
    killed = process(aws, tmp_path, authorized=AUTHORIZED, notify=NOTIFY)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL

    aws.proxy.heal()
    assert messages(cloud) == []
    second = run()
    assert sorted(change(record) for record in records((tmp_path / "log").read_text())) == made(before, second.before)
    sources = {shape(rule)[1:4:2]: source_of(rule) for rule in second.before.values()}
    assert {(3389, AUTHORIZED[0]), (3389, AUTHORIZED[1])} <= sources.keys()
    assert {(22, "0.0.0.0/0"), (22, AUTHORIZED[0])} & sources.keys()
    assert second.error is None
    assert second.is_right
    assert second.logged == second.made
    assert second.told == set(second.logged)


@pytest.mark.parametrize("number", range(4, len(CALLS) + 1), ids=lambda number: f"{number}-{CALLS[number - 1]}")
def test_asked_to_end_at_any_call(aws, cloud, tmp_path, number):
    """Asked to end at any call, and at each one after it, a run reports what it did, or perhaps did, and ends."""
    calls = []

    async def end(call):
        calls.append(call)
        if len(calls) >= number:
            os.kill(ended.pid, signal.SIGTERM)

    aws.proxy.passing(end)
    before = rules_of(GROUP["GroupId"])
    ended = process(aws, tmp_path, authorized=AUTHORIZED, notify=NOTIFY)
    ended.join()
    assert ended.exitcode == -signal.SIGTERM
    changes = made(before, rules_of(GROUP["GroupId"]))
    logged = records((tmp_path / "log").read_text())
    assert {(was, now) for _, was, now in changes} <= {change(record)[1:] for record in logged}
    told = [
        record
        for message in messages(cloud)
        for each in message["resources"]
        for record in each["c7n:replaced-ingress"]
    ]
    for record in logged:
        record.pop("tags", None)  # a message has no tags of rules
    assert [record for record in logged if record not in told] == []


def test_the_command_asked_to_end(aws, cloud, tmp_path):
    """A command that is asked to end, and has reported, ends as upon Ctrl-C, so that Custodian finishes its output."""

    async def end(call):
        if call == "ModifySecurityGroupRules":
            command.terminate()

    aws.proxy.passing(end)
    sweep = shipped("open-ingress-sweep", tmp_path, AUTHORIZED)
    arguments = [CUSTODIAN, "run", "--region", "us-east-1", "-s", tmp_path / "out", *sweep]
    command = subprocess.Popen(arguments, env=aws.environment(), stderr=subprocess.DEVNULL)
    assert command.wait() not in (0, -signal.SIGTERM)
    assert len(messages(cloud)) == 1
    assert (tmp_path / "out" / "open-ingress-sweep" / "metadata.json").exists()


PEOPLE = {
    "deletes the group": lambda ec2, _: ec2.delete_security_group(GroupId=GROUP["GroupId"]),
    "revokes a rule": lambda ec2, ssh: ec2.revoke_security_group_ingress(
        GroupId=GROUP["GroupId"], SecurityGroupRuleIds=[ssh]
    ),
    "adds a network": lambda ec2, _: ec2.authorize_security_group_ingress(
        GroupId=GROUP["GroupId"],
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": AUTHORIZED[0]}]}],
    ),
}
"""What people do to a group while a run is at it; ssh is the id of the rule that lets everybody in there."""


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("number", range(2, len(CALLS) + 1), ids=lambda number: f"{number}-{CALLS[number - 1]}")
def test_somebody_else_at_any_call(aws, cloud, run, number, person):
    """Whatever somebody does to the group before any call, the run ends well, and leaves nothing to the next one."""
    ec2 = cloud.session().client("ec2")
    (ssh,) = (i for i, rule in rules_of(GROUP["GroupId"]).items() if shape(rule)[3:] == ("0.0.0.0/0", "ssh"))

    def meddle():
        with suppress(ec2.exceptions.ClientError):  # the network is there already
            PEOPLE[person](ec2, ssh)

    aws.proxy.passing(At(number, meddle))
    first = run()
    assert first.error is None
    assert "0.0.0.0/0" not in map(source_of, first.after.values())
    assert first.told == set(first.logged)
    if person != "deletes the group":
        assert {AUTHORIZED[0], AUTHORIZED[1]} <= {source_of(rule) for rule in first.after.values()}

    aws.proxy.heal()
    second = run()
    assert (second.error, second.made, second.told) == (None, [], set())


def test_two_deliveries_at_once(aws, run, tmp_path):
    """Two processes that make each changing call at the same moment get the group right, and record all of it."""
    meeting = Meeting(2, {"AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules", "RevokeSecurityGroupIngress"})
    aws.proxy.passing(meeting)
    before = rules_of(GROUP["GroupId"])
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    both = [process(aws, folder, authorized=AUTHORIZED, notify=NOTIFY) for folder in folders]
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    assert meeting.met
    logged = {change(record) for folder in folders for record in records((folder / "log").read_text())}
    second = run()
    assert second.is_right
    assert second.made == []
    assert sorted(logged) == made(before, second.before)


class Meeting:
    """Hold calls of each kind until so many have come in."""

    def __init__(self, size, calls):
        self.size, self.met = size, []
        self.waiting = dict.fromkeys(calls, 0)
        self.full = {call: asyncio.Event() for call in calls}

    async def __call__(self, call):
        """Wait for the others."""
        if call in self.waiting:
            self.waiting[call] += 1
            if self.waiting[call] == self.size:
                self.met.append(call)
                self.full[call].set()
            await self.full[call].wait()
