import json
import signal
import time
from contextlib import ExitStack
from threading import Lock

import pytest
import yaml

from c7n_ingress.decide.message import STATE
from c7n_ingress_tools.check import canary
from c7n_ingress_tools.check.facts import WRONG
from c7n_ingress_tools.embedded_aws.config import configuration_item, event, record
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.functions.runtime import FunctionError
from tests.support.docs import blocks, commands
from tests.support.embedded import ACCOUNT, aws_error, cases, journal, messages, rules_of, source_of
from tests.support.followed import NETWORKS, attempted, copied, typed
from tests.support.forked import C7N_INGRESS
from tests.support.kept import once, warm
from tests.support.meanwhile import repeating, started
from tests.support.search import by_day
from tests.support.stacked import create, inbox, poll, stop_polling

NAME = "custodian-open-ingress"
CENTRAL = "210987654321"
OWN_URL = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/custodian-mailer"
CASES = cases("check")["canary"]
DEPLOY = "custodian run --region us-east-1 --vars-file settings.yml -s out -p open-ingress policies/open-ingress.yml"
(CANARY,) = commands(blocks("docs/operate.md", "Prove that it works")[0])
PREVIEW = commands(blocks("docs/deploy.md", "Roll it out in stages")[0])


@pytest.fixture
def pack(cloud, tmp_path):
    """Return a copy of the pack, where the stack and the policy on AWS Config's events are deployed."""
    copy = copied(tmp_path)

    def deploy():
        create(cloud, RecordSecurityGroups="yes")
        typed(cloud, copy, DEPLOY)

    once(cloud, "canary", deploy)
    return copy


def canaries(cloud):
    """Return the groups of canaries that exist."""
    groups = cloud.session().client("ec2").describe_security_groups()["SecurityGroups"]
    return [group for group in groups if group["GroupName"].startswith(canary.TAG)]


class Loop:
    """What AWS does in the background: Config starts the function, and SQS the mailer. A part of it can be broken."""

    def __init__(self, cloud, policy, mailer):
        self.cloud, self.policy, self.mailer = cloud, policy, mailer
        self.session = cloud.new_session()
        self.broken = ""
        self.turning = Lock()
        self.known = {}

    def turn(self):
        """Do once what is due."""
        for group in canaries(self.cloud):
            shape = json.dumps(group["IpPermissions"], sort_keys=True)
            if self.known.get(group["GroupId"]) != shape and self.broken != "recorder":
                self.known[group["GroupId"]] = shape
                item = record(configuration_item(group))
                if self.broken != "trigger":
                    self.start(item)
                if self.broken == "group":  # somebody removes the rule
                    canary.close(self.session.client("ec2"), group["GroupId"])
        if self.mailer and self.broken not in ("mailer", "queue"):
            poll(self.session, self.mailer)

    def start(self, item):
        """Start the function; Lambda keeps what it raises to itself."""
        sent = event({**item, "awsAccountId": "210987654321"} if self.broken == "function" else item, NAME)
        try:
            self.policy.invoke(sent)
        except FunctionError:
            if self.broken not in ("function", "queue"):
                raise


def running(loop):
    """Let the loop run in the background until a block ends."""

    def turn():
        with loop.turning:
            loop.turn()

    return repeating(turn)


def fly(cloud, limit, wait=0.2, **more):
    """Run a canary, and return its result and what it showed."""
    shown = []
    settings = {"authorized": NETWORKS, **more}
    result = canary.run(cloud.session(), settings, lambda seconds, said: shown.append((seconds, said)), limit, wait)
    return result, shown


def test_the_canary(cloud, pack):
    """The canary shows each stage with seconds, undoes the change and deletes its group; what is broken is named."""
    take = inbox(cloud)
    typed(cloud, pack, "c7n-ingress mailer deploy --region us-east-1")
    stop_polling(cloud)
    with ExitStack() as stack:
        loop = Loop(cloud, *(stack.enter_context(warm(cloud, name)) for name in (NAME, "custodian-mailer")))
        stack.enter_context(running(loop))
        result, shown = fly(cloud, limit=120)
        assert result.failed is None, (result, shown)
        assert list(result.seconds) == ["recorded", "started", "replaced", "sent", "delivered", "undone"], shown
        assert result.fact.said.startswith(f"closed after {result.seconds['replaced']:.1f} s, reported after ")
        assert [said for _, said in shown] == [
            f"opened tcp 22 to 0.0.0.0/0 in {result.group}, which nothing uses",
            *[stage.said for stage in canary.STAGES.values()],
            f"deleted {result.group}",
        ]
        assert canaries(cloud) == []
        assert result.group in json.dumps(take())
        (undone,) = [call for call in cloud.calls if call.action == "ModifySecurityGroupRules"][1:]
        assert undone.error is None

        for case in by_day(CASES[:2], CASES):
            with loop.turning:
                loop.broken = case["broken"]
            sqs = cloud.session().client("sqs")
            queue = sqs.get_queue_url(QueueName="custodian-mailer")["QueueUrl"]
            with ExitStack() as undone:
                if case["broken"] == "queue":
                    sqs.delete_queue(QueueUrl=queue)
                    undone.callback(sqs.create_queue, QueueName="custodian-mailer")
                result, shown = fly(cloud, limit=case["seconds"])
            assert (result.failed, case["fix"] in result.fix) == (case["stage"], True), (case, result, shown)
            assert canaries(cloud) == [], case


def test_a_policy_with_preview(cloud, pack):
    """A policy that previews reports on events what would be closed; the canary fails, and deletes its group."""
    for command in PREVIEW:
        typed(cloud, pack, command)
    with warm(cloud, NAME) as policy:
        loop = Loop(cloud, policy, None)
        with running(loop):
            result, _ = fly(cloud, limit=20)
    assert result.failed == "replaced"
    assert "such as one about `preview`" in result.fix
    (message,) = messages(cloud)
    assert "1 rule would be replaced in 1 group" in message["action"]["subject"]
    assert [(each["GroupId"], each[STATE]["name"]) for each in message["resources"]] == [
        (result.group, "would be closed")
    ]
    assert canaries(cloud) == []


@pytest.mark.parametrize(
    "queue",
    [f"arn:aws:sqs:us-east-1:{CENTRAL}:custodian-mailer", pytest.param(OWN_URL, marks=pytest.mark.soak)],
    ids=["ARN", "URL"],
)
def test_who_delivers(cloud, tmp_path, queue):
    """Where another account delivers, the canary ends when the message is sent; the own mailer must deliver it."""
    copy = copied(tmp_path)
    create(cloud, RecordSecurityGroups="yes")
    cloud.session("us-east-1", CENTRAL).client("sqs").create_queue(QueueName="custodian-mailer")
    (copy / "settings.yml").write_text(yaml.safe_dump({"authorized": NETWORKS, "queue": queue}))
    typed(cloud, copy, DEPLOY)
    with warm(cloud, NAME) as policy, running(Loop(cloud, policy, None)):
        result, shown = fly(cloud, limit=20, queue=queue)
    assert result.failed == (None if CENTRAL in queue else "delivered"), (result, shown)


EXEMPT_22 = {"group": f"{canary.TAG}-*", "ports": ["tcp/22"], "until": "2099-01-31", "reason": "a test"}
OPEN_22 = [{"public-ports": [22]}, pytest.param({"exemptions": [EXEMPT_22]}, marks=pytest.mark.soak)]


@pytest.mark.parametrize("settings", OPEN_22, ids=["public port", "register"])
def test_a_port_that_stays_open(cloud, tmp_path, settings):
    """If the settings leave a port open, the canary opens another."""
    copy = copied(tmp_path)
    create(cloud, RecordSecurityGroups="yes")
    (copy / "settings.yml").write_text(yaml.safe_dump({"authorized": NETWORKS, **settings}))
    typed(cloud, copy, DEPLOY)
    with warm(cloud, NAME) as policy, running(Loop(cloud, policy, None)):
        result, shown = fly(cloud, limit=15, **settings)
    assert "replaced" in result.seconds, (result, shown)
    assert shown[0][1].startswith("opened tcp 23 to 0.0.0.0/0")


def test_an_account_with_vars_of_its_own(cloud, pack):
    """The canary takes the settings of an account from its vars in c7n-org's file."""
    own = {"authorized": NETWORKS, "public-ports": [22]}
    account = {"name": "shop", "account_id": ACCOUNT, "role": "deployer", "vars": own}
    (pack / "accounts.yml").write_text(yaml.safe_dump({"accounts": [account]}))
    assert "opened tcp 23 to 0.0.0.0/0" in attempted(cloud, pack, f"{CANARY} --timeout 0.1").stdout


@pytest.mark.usefixtures("pack")
def test_an_account_whose_groups_stay_open(cloud):
    """If the settings leave each port open, the canary opens nothing, and names the settings."""
    entry = {"account": ACCOUNT, "until": "2099-01-31", "reason": "a test"}
    with pytest.raises(CommandError, match=r"^public-ports or exemptions in settings\.yml leave each port"):
        fly(cloud, limit=1, exemptions=[entry])
    assert "CreateSecurityGroup" not in {call.action for call in cloud.calls}


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)],
    ids=lambda number: number.name,
)
def test_ctrl_c(cloud, pack, number):
    """Ctrl-C and SIGTERM delete the group, and end the command with 2."""
    process = started([C7N_INGRESS, *CANARY.split()[1:]], cwd=pack, env=cloud.environment())
    for _ in range(600):
        if any(group["IpPermissions"] for group in canaries(cloud)):
            break
        time.sleep(0.1)
    (group,) = canaries(cloud)
    assert [source_of(rule) for rule in rules_of(group["GroupId"]).values()] == ["0.0.0.0/0"]
    process.send_signal(number)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.splitlines()[-1] == "c7n-ingress: stopped"
    assert f"deleted {group['GroupId']}" in printed
    assert canaries(cloud) == []


@pytest.mark.usefixtures("pack")
def test_ctrl_c_while_the_group_is_created(cloud):
    """Ctrl-C before EC2 has answered with the group's id deletes the group, too."""
    session = cloud.new_session()
    interrupt = lambda **_: signal.raise_signal(signal.SIGINT)
    session.events.register("after-call.ec2.CreateSecurityGroup", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's process in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            canary.run(session, {"authorized": NETWORKS}, lambda *_: None, 20, 0.2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "DeleteSecurityGroup" in {call.action for call in cloud.calls}
    assert canaries(cloud) == []


@pytest.mark.usefixtures("pack")
def test_what_a_killed_canary_leaves(cloud):
    """A group that is left over is deleted by the next canary. One that is in use stays, or whose tag is no time."""
    ec2 = cloud.session().client("ec2")

    def left(name, created):
        tags = [{"ResourceType": "security-group", "Tags": [{"Key": canary.TAG, "Value": created}]}]
        return ec2.create_security_group(GroupName=f"{canary.TAG}-{name}", Description="d", TagSpecifications=tags)

    left("old", "2026-01-01T00:00:00+00:00")
    left("strange", "yes")
    left("stranger", "2026-01-01")
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    left("new", now)
    result, _ = fly(cloud, limit=0.1)
    assert result.failed == "recorded"
    assert sorted(group["GroupName"] for group in canaries(cloud)) == [
        f"{canary.TAG}-{name}" for name in ("new", "strange", "stranger")
    ]


def test_where_nothing_is_deployed(cloud, tmp_path):
    """Where nothing closes groups at once, the canary opens nothing and has failed; facts and other regions follow."""
    folder = tmp_path / "checks" / "lab" / "us-east-1"
    folder.mkdir(parents=True)
    done = attempted(cloud, copied(tmp_path), f"{CANARY} --region eu-west-1 --json")
    (folder / "stdout").write_text(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    made = json.loads(done.stdout)
    assert {fact["region"] for fact in made["facts"]} == {None, "us-east-1", "eu-west-1"}
    flown = [each for each in made["facts"] if each["name"] == "canary"]
    assert [(each["region"], each["state"]) for each in flown] == [("us-east-1", WRONG), ("eu-west-1", WRONG)]
    why = "neither open-ingress nor open-ingress-cloudtrail is deployed in us-east-1, so nothing closes a group at once"
    assert flown[0]["said"].startswith(why)
    assert "CreateSecurityGroup" not in {call.action for call in cloud.calls}

    shown = attempted(cloud, tmp_path, "c7n-ingress check --of checks").stdout
    assert f"    canary: {why}" in shown


@pytest.mark.parametrize("missing", ["sent", "delivered"])
def test_a_message_that_nobody_gets(cloud, missing):
    """A canary whose message is not sent, or not delivered, fails, also if its undo restored the rule."""
    seen = canary.Canary(cloud.session(), (NAME,), {})
    reached = list(canary.STAGES)[: list(canary.STAGES).index(missing)]
    result = canary.judged(seen, dict.fromkeys([*reached, "undone"], 1.0), "")
    assert (result.failed, result.fact.state) == (missing, WRONG)


def test_a_group_that_cannot_be_deleted(cloud, monkeypatch):
    """A group that EC2 does not delete is closed, and the command that deletes it is named."""
    client = cloud.session().client("ec2")
    group = client.create_security_group(GroupName="g", Description="d")["GroupId"]
    client.authorize_security_group_ingress(GroupId=group, IpPermissions=[canary.opened(22)])
    monkeypatch.setattr(canary.time, "sleep", lambda _: None)

    def refuse(**_):
        raise aws_error("DependencyViolation", "DeleteSecurityGroup", "in use")

    monkeypatch.setattr(client, "delete_security_group", refuse)
    with pytest.raises(CommandError, match=f"aws ec2 delete-security-group --region us-east-1 --group-id {group}"):
        canary.delete(client, group, "us-east-1")
    assert rules_of(group) == {}


def test_a_group_that_only_looks_left_over(cloud, monkeypatch):
    """A group that anyone made to look left over, and that EC2 does not delete, keeps no canary from running."""
    client = cloud.session().client("ec2")
    tags = [{"ResourceType": "security-group", "Tags": [{"Key": canary.TAG, "Value": "2026-01-01T00:00:00+00:00"}]}]
    client.create_security_group(GroupName=f"{canary.TAG}-old", Description="d", TagSpecifications=tags)

    def refuse(**_):
        raise aws_error("DependencyViolation", "DeleteSecurityGroup", "in use")

    monkeypatch.setattr(client, "delete_security_group", refuse)
    canary.delete_left_over(client)
    assert len(canaries(cloud)) == 1


def test_a_forged_line_in_the_log(cloud, monkeypatch):
    """A line that somebody else wrote into the log does not say in which log the canary's undo looks."""
    seen = canary.Canary(cloud.session(), (NAME,), {})
    seen.group = "sg-0123456789abcdef0"
    forged = {"group": seen.group, "run": "a", "log_group": "s3://theirs/journal", "timestamp": "now"}
    journal([forged], seen.log_groups[0])
    monkeypatch.setattr(seen, "opened", seen.opened.replace(year=2020))
    assert seen.sent() is None
    assert seen.record["log_group"] == seen.log_groups[0]
