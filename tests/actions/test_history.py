import json
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.aws import history as reopened
from c7n_ingress.decide.reopened import REOPENED
from c7n_ingress_tools.embedded_aws.config import configuration_item, event, record
from c7n_ingress_tools.functions.runtime import deployed
from tests.support.channels import render
from tests.support.embedded import (
    NOTIFY,
    act,
    aws_error,
    custodian,
    group_of,
    load,
    make_queue,
    messages,
    rules_of,
    shipped,
    source_of,
)
from tests.support.faults import CASES, failing, rules

NAME = "custodian-open-ingress"
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
WEB = {**SSH, "ports": 443}


@pytest.fixture
def function(cloud, tmp_path):
    """Deploy open-ingress with `reopened`, in an account with a recorder, and return its Lambda."""
    account = cloud.session()
    recorder = {"name": "default", "roleARN": "arn:aws:iam::123456789012:role/config-role"}
    account.client("config").put_configuration_recorder(ConfigurationRecorder=recorder)
    account.client("iam").create_role(RoleName="custodian-open-ingress", AssumeRolePolicyDocument="{}")
    account.client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    make_queue(cloud)
    policy = shipped("open-ingress", tmp_path, ["198.18.7.0/24"])
    done = custodian(cloud, "run", "--region", "us-east-1", "-s", tmp_path, *policy)
    assert done.returncode == 0, done.stderr
    with deployed(cloud, NAME) as function:
        yield function


def opened(cloud, function, minutes):
    """Make somebody open the group, so many minutes ago for Config, and return what the function reports."""
    shape = group_of({"name": "web", "ingress": [SSH]}, 1)
    load([shape])
    captured = datetime.now(timezone.utc) - timedelta(minutes=minutes)
    item = configuration_item(live(cloud), captured=captured)
    function.invoke(event(record(item), NAME))
    record(configuration_item(live(cloud), captured=captured + timedelta(minutes=1)))
    (message,) = messages(cloud)
    (resource,) = message["resources"]
    return resource, message


def live(cloud):
    """Return the group as it is."""
    (group,) = cloud.session().client("ec2").describe_security_groups(GroupNames=["web"])["SecurityGroups"]
    return group


def sources():
    """Return the sources of the group's rules."""
    return [source_of(rule) for rule in rules_of("sg-00000000000000001").values()]


def test_opened_four_times(cloud, function):
    """From the third time on the message says so first, and the group is closed each time."""
    start = datetime.now(timezone.utc) - timedelta(minutes=15)
    said = []
    for minutes in (15, 10, 5, 0):
        resource, message = opened(cloud, function, minutes)
        said.append(resource.get(REOPENED))
        assert sources() == ["198.18.7.0/24"]
    assert said[:2] == [None, None]
    assert said[2].startswith("opened again, 3rd time since ")
    since = {f"{start + timedelta(minutes=late):%A %H:%M} UTC" for late in (0, 1)}
    assert said[3] in {f"opened again, 4th time since {each}; something opens it every 5 minutes" for each in since}
    text = render(message)
    assert text.index("Opened again, 4th time") < text.index("* TCP 22 (SSH)")


def test_what_it_costs(cloud, function):
    """A warm event that closes a group makes one call more, after the change; one that closes nothing makes none."""
    opened(cloud, function, 15)
    cloud.calls.clear()
    opened(cloud, function, 5)
    calls = [
        call.action for call in cloud.calls if call.action not in ("GetQueueUrl", "ReceiveMessage", "DeleteMessage")
    ]
    assert set(calls[1:3]) == {"DescribeSecurityGroups", "DescribeSecurityGroupRules"}  # at once, in either order
    assert calls[3:10] == [
        "UpdateItem",  # the limit on groups in an hour
        "ModifySecurityGroupRules",
        "GetResourceConfigHistory",
        "DescribeNetworkInterfaces",
        "DescribeVpcBlockPublicAccessOptions",
        "SendMessage",
        "PutEvaluations",
    ]
    cloud.calls.clear()
    function.invoke(event(configuration_item(live(cloud)), NAME))
    assert "GetResourceConfigHistory" not in {call.action for call in cloud.calls}


REOPENED_IN_A_DAY = {"reopened": {"times": 3, "hours": 24}}
RENEWED = {"renewals": {"tag": "open-ingress-until", "days": 90}, "type": "notify-in-parts", **NOTIFY}


@pytest.fixture
def asked(cloud, monkeypatch):
    """Make three open groups, and Config take 200 seconds to answer, by the clock."""
    make_queue(cloud)
    load([group_of({"name": f"group {number}", "ingress": [SSH]}, number) for number in (1, 2, 3)])
    clock = [time.monotonic()]
    monkeypatch.setattr(reopened, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    asked = []

    def answer(**_):
        clock[0] += 200
        asked.append(clock[0])

    return asked, {"GetResourceConfigHistory": answer}


@pytest.mark.parametrize("action", [{"authorized": ["198.18.7.0/24"], "notify": NOTIFY, **REOPENED_IN_A_DAY}, RENEWED])
def test_config_takes_too_long(cloud, tmp_path, asked, action):
    """People are notified of all groups before the function's time is up, however long Config takes for each."""
    times, before = asked
    act(cloud, tmp_path, before=before, **action)
    assert len(times) == 2
    (message,) = messages(cloud)
    assert len(message["resources"]) == 3
    assert json.dumps(message).count("could not be looked up in AWS Config (TimeoutError)") == 1


def test_stopped_while_config_is_asked(cloud, tmp_path, asked):
    """Who stops the run while Config is asked notifies people of what was closed by then."""

    def stop(**_):
        raise KeyboardInterrupt

    assert asked[0] == []
    action = {"authorized": ["198.18.7.0/24"], "notify": NOTIFY, **REOPENED_IN_A_DAY}
    with pytest.raises(KeyboardInterrupt):
        act(cloud, tmp_path, before={"GetResourceConfigHistory": stop}, **action)
    (message,) = messages(cloud)
    assert [len(resource["c7n:replaced-ingress"]) for resource in message["resources"]] == [1, 1, 1]


@pytest.fixture
def recorded(cloud):
    """Put an open group into EC2, and return a function that makes Config record how it was some minutes ago."""
    make_queue(cloud)
    load([group_of({"name": "web", "ingress": [SSH]}, 1)])
    config = cloud.session().client("config")
    recorder = {"name": "default", "roleARN": "arn:aws:iam::123456789012:role/config-role"}
    config.put_configuration_recorder(ConfigurationRecorder=recorder)

    def put(minutes, ingress, tags=None):
        group = group_of({"name": "web", "ingress": ingress or (), "tags": tags or {}}, 1)
        status = "ResourceDeleted" if ingress is None else "OK"
        captured = datetime.now(timezone.utc) - timedelta(minutes=minutes)
        record(configuration_item(group, status=status, captured=captured))

    return put


def said(cloud, folder, **more):
    """Close the group, and return what its message says of what was opened before."""
    act(cloud, folder, **{"authorized": ["198.18.7.0/24"], "notify": NOTIFY, **REOPENED_IN_A_DAY, **more})
    ((resource,),) = [message["resources"] for message in messages(cloud)]
    return resource.get(REOPENED)


THREE_TIMES = [(50, [SSH]), (40, []), (30, [SSH, WEB]), (20, [WEB]), (0, [SSH])]


@pytest.mark.parametrize(
    ("states", "more", "times"),
    [
        (THREE_TIMES, {}, "3rd"),
        ([(50, [SSH]), (40, None), (30, [SSH]), (20, []), (0, [SSH])], {}, "3rd"),
        ([(50, [SSH]), (40, [SSH]), (30, [WEB]), (20, []), (0, [SSH])], {}, None),
        (THREE_TIMES, {"reopened": {"times": 4, "hours": 24}}, None),
        ([(130, [SSH]), *THREE_TIMES[1:]], {"reopened": {"times": 3, "hours": 2}}, None),
        (THREE_TIMES, {"preview": True}, None),
    ],
    ids=["thrice", "deleted between", "twice", "too few", "too long ago", "a preview"],
)
def test_opened_before(cloud, tmp_path, recorded, states, more, times):
    """A group that was opened as often as `reopened` says within its hours is reported as opened again."""
    for state in states:
        recorded(*state)
    found = said(cloud, tmp_path, **more)
    assert found is None if times is None else found.startswith(f"opened again, {times} time since ")
    assert [call.action for call in cloud.calls].count("GetResourceConfigHistory") == ("preview" not in more)


@pytest.mark.parametrize(
    ("recorder", "why"),
    [(True, "ResourceNotDiscoveredException"), (False, "NoAvailableConfigurationRecorderException")],
)
@pytest.mark.usefixtures("recorded")
def test_no_history(cloud, tmp_path, caplog, recorder, why):
    """A group without a history, or of an account where Config records nothing, is closed, and the message says so."""
    if not recorder:
        cloud.session().client("config").delete_configuration_recorder(ConfigurationRecorderName="default")
    assert said(cloud, tmp_path) == f"whether it was opened before could not be looked up in AWS Config ({why})"
    assert "sg-00000000000000001: whether it was opened before could not be looked up" in caplog.messages
    assert sources() == ["198.18.7.0/24"]


@pytest.mark.usefixtures("recorded")
def test_a_throttled_history(cloud, tmp_path):
    """So is a group whose history Config has no time for: it is asked twice, and nothing fails."""
    (throttled,) = (fault for fault in CASES["faults"] if fault["name"] == "throttled")
    with failing(cloud) as aws:
        aws.proxy.breaks(*rules({"service": "config", "operation": "GetResourceConfigHistory"}, [throttled]))
        assert "could not be looked up in AWS Config (Throttl" in said(aws, tmp_path)
        assert len(aws.proxy.fired) == 2
    assert sources() == ["198.18.7.0/24"]


def test_only_what_was_closed_is_looked_up(cloud, tmp_path, recorded):
    """What was opened before counts if the run closed it; Config is asked only of groups in which it closed any."""
    for minutes, ingress in THREE_TIMES:
        recorded(minutes, [WEB] if ingress else ingress)
    assert said(cloud, tmp_path) is None
    load([group_of({"name": "web", "ingress": [{**SSH, "source": "198.51.100.7/32"}]}, 1)])
    cloud.calls.clear()
    with pytest.raises(PolicyExecutionError, match="is wider than what it would replace"):
        said(cloud, tmp_path, filters=[{"type": "ingress", "Ports": [22]}])
    assert "GetResourceConfigHistory" not in {call.action for call in cloud.calls}


TAG = "open-ingress-until"
DAY = 24 * 60


@pytest.mark.parametrize(
    ("days", "says"),
    [(90, "renewed 4 times in the last 90 days, last on {:%Y-%m-%d}"), (5, "not renewed in the last 5 days")],
)
def test_how_often_a_tag_was_renewed(cloud, tmp_path, recorded, days, says):
    """Days that a tag got are counted, however many pages Config's history has, and the last one is named, in UTC."""
    now = datetime.now(timezone.utc)
    last = (now - timedelta(days=10)).replace(hour=20)  # where these tests run, it is the next day
    ages = [*(days * DAY for days in (200, 150, 100, 80, 50, 30)), (now - last) / timedelta(minutes=1)]
    for number, age in enumerate(ages):
        recorded(age, [SSH], {TAG: f"2026-01-{number + 10}"})
    recorded(9 * DAY, [SSH])
    recorded(2 * DAY, None)
    cloud.calls.clear()
    act(cloud, tmp_path, **RENEWED | {"renewals": {"tag": TAG, "days": days}})
    ((resource,),) = [message["resources"] for message in messages(cloud)]
    assert resource["c7n:renewed-ingress"] == says.format(last)
    assert [call.action for call in cloud.calls].count("GetResourceConfigHistory") > 1


def test_a_tag_whose_history_is_not_known(cloud, tmp_path, recorded):
    """If Config does not return a history, the group is reported all the same, with the reason."""
    recorded(DAY, [SSH])

    def deny(**_):
        raise aws_error("AccessDeniedException", "GetResourceConfigHistory")

    act(cloud, tmp_path, before={"GetResourceConfigHistory": deny}, **RENEWED)
    ((resource,),) = [message["resources"] for message in messages(cloud)]
    why = "how often it was renewed could not be looked up in AWS Config (AccessDeniedException)"
    assert resource["c7n:renewed-ingress"] == why
