import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from c7n_ingress.decide.brake import TABLE
from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from tests.support.embedded import cases, group_of, load, messages, rules_of, run, shipped, source_of
from tests.support.faults import CASES, rules
from tests.support.kept import once, warm
from tests.support.search import by_day
from tests.support.stacked import create

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
AUTHORIZED = ["198.18.7.0/24"]
NAME = "custodian-open-ingress"
COUNTING = {"service": "dynamodb", "operation": "UpdateItem"}
SENDING = {"service": "sqs", "operation": "SendMessage"}
FAULTS = {fault["name"]: fault for fault in CASES["faults"]}
EVENTS, PROCESSES, AT_MOST = by_day(20, at_night=500), by_day(4, at_night=30), by_day(4, at_night=50)
(CALL,) = [
    case
    for case in cases("open-ingress-cloudtrail")["events"]
    if case["name"] == "the CLI, with one permission at the request's top"
]


def open_group(number):
    """Open a group to the internet, which exists afterwards, and return it."""
    group = group_of({"name": f"group {number}", "ingress": [SSH]}, number)
    load([group])
    return group


def config_event(group):
    """Return what AWS Config sends about a group."""
    return event(configuration_item(group), NAME)


def braked(cloud, folder, at_most):
    """Create the stack, and deploy the policy with a limit, in an hour that has some seconds left."""
    if (left := 3600 - time.time() % 3600) < 30:
        time.sleep(left)

    def deploy():
        create(cloud)
        done = run(cloud, shipped("open-ingress", folder, AUTHORIZED, at_most=at_most), folder)
        assert done.returncode == 0, done.stderr

    once(cloud, f"at most {at_most}", deploy)


def deliver(function, sent, attempts=3):
    """Invoke a function as Lambda does: where it fails, twice more; return the errors."""
    try:
        function.invoke(sent)
    except FunctionError as error:
        return [error, *(deliver(function, sent, attempts - 1) if attempts > 1 else [])]
    return []


def an_hour_passes(cloud):
    """Make the table forget what was counted in this hour, and return these groups."""
    table, counted = cloud.session().client("dynamodb"), []
    for item in table.scan(TableName=TABLE)["Items"]:
        counted.append(item.get("groups", {"SS": []})["SS"])
        table.delete_item(TableName=TABLE, Key={"id": item["id"]})
    return [hour for hour in counted if hour]


def is_closed(group):
    """Whether a group is closed."""
    return [source_of(rule) for rule in rules_of(group["GroupId"]).values()] == AUTHORIZED


def reports(cloud):
    """Return what all messages say of groups, by the group's id and its state."""
    return [
        (resource["GroupId"], resource["c7n:state-ingress"]["name"], resource)
        for message in messages(cloud)
        for resource in message["resources"]
    ]


def test_the_limit(cloud, tmp_path):
    """Over the limit a group stays open and is reported once, its event fails, and a later hour closes it."""
    braked(cloud, tmp_path, 2)
    groups = [open_group(number) for number in (1, 2, 3)]
    with warm(cloud, NAME) as function:
        failures = [deliver(function, config_event(group)) for group in groups]
        assert [len(errors) for errors in failures] == [0, 0, 3]
        assert [is_closed(group) for group in groups] == [True, True, False]
        *closed, (group_id, state, resource) = reports(cloud)
        assert [state for _, state, _ in closed] == ["closed", "closed"]
        assert (group_id, state) == (groups[2]["GroupId"], "not closed")
        (why,) = resource["c7n:failed-ingress"]
        assert why.startswith("at-most is 2, and as many groups")
        assert "c7n-ingress replay --region us-east-1" in why
        assert {each.verdict for each in cloud.evaluations if each.resource == group_id} == {"NON_COMPLIANT"}

        an_hour_passes(cloud)
        assert deliver(function, config_event(groups[2])) == []
        assert is_closed(groups[2])


def test_calls_that_cloudtrail_recorded(cloud, tmp_path):
    """The policy that runs on calls has the same limit, counted with the policy that runs on changes."""
    braked(cloud, tmp_path, 1)
    first, second = open_group(1), open_group(2)
    with warm(cloud, NAME) as function:
        assert deliver(function, config_event(first)) == []
    by_call = shipped("open-ingress-cloudtrail", tmp_path, AUTHORIZED, at_most=1)
    assert run(cloud, by_call, tmp_path).returncode == 0
    (rule_id,) = rules_of(second["GroupId"])
    text = json.dumps(CALL["detail"]).replace('"GROUP"', f'"{second["GroupId"]}"').replace('"RULE"', f'"{rule_id}"')
    detail = {"eventTime": "2026-01-31T12:34:56Z", "eventSource": "ec2.amazonaws.com", "awsRegion": "us-east-1"}
    with warm(cloud, "custodian-open-ingress-cloudtrail") as function:
        errors = deliver(function, {"source": "aws.ec2", "detail": {**detail, **json.loads(text)}})
    assert len(errors) == 3
    assert not is_closed(second)


def test_the_same_group_again(cloud, tmp_path):
    """A group that is opened again in the same hour counts once."""
    braked(cloud, tmp_path, 2)
    group, other = open_group(1), open_group(2)
    with warm(cloud, NAME) as function:
        for _ in range(3):
            open_group(1)
            assert deliver(function, config_event(group)) == []
            assert is_closed(group)
        assert deliver(function, config_event(other)) == []
    assert is_closed(other)
    assert an_hour_passes(cloud) == [[group["GroupId"], other["GroupId"]]]


def test_a_group_that_needs_no_change(cloud, tmp_path):
    """DynamoDB is asked once, and only about a group that is about to be changed."""
    braked(cloud, tmp_path, 2)
    group = open_group(1)
    with warm(cloud, NAME) as function:
        cloud.calls.clear()
        deliver(function, config_event(group))
        assert [call.action for call in cloud.calls].count("UpdateItem") == 1
        cloud.calls.clear()
        deliver(function, config_event(group))
        assert "UpdateItem" not in [call.action for call in cloud.calls]


@pytest.fixture
def aws(failing_aws):
    """Return AWS behind the proxy, with no fault yet."""
    failing_aws.proxy.heal()
    return replace(failing_aws, attempts=2)


@pytest.mark.parametrize("fault", ["denied", "throttled", "internal error", "unavailable", "reset before"])
def test_a_table_that_does_not_answer(cloud, aws, tmp_path, fault):
    """Where the table does not answer, groups are closed all the same, and the message says so."""
    braked(cloud, tmp_path, 1)
    groups = [open_group(number) for number in (1, 2)]
    with warm(aws, NAME) as function:
        aws.proxy.breaks(*rules(COUNTING, [FAULTS[fault]]))
        assert [deliver(function, config_event(group)) for group in groups] == [[], []]
    assert aws.proxy.fired
    assert all(map(is_closed, groups))
    for _, state, resource in reports(cloud):
        assert state == "closed"
        (note,) = resource["c7n:noted-ingress"]
        assert note.startswith(f"at-most was not applied, because the table {TABLE} could not count this group")


def test_a_table_that_is_missing(cloud, tmp_path):
    """Where there is no table, as with an older stack, groups are closed all the same, and the message says so."""
    braked(cloud, tmp_path, 1)
    group = open_group(1)
    with warm(cloud, NAME) as function:
        cloud.session().client("dynamodb").delete_table(TableName=TABLE)
        assert deliver(function, config_event(group)) == []
    assert is_closed(group)
    ((_, _, resource),) = reports(cloud)
    assert "ResourceNotFoundException" in resource["c7n:noted-ingress"][0]


@pytest.mark.parametrize("fault", ["denied", "unavailable"])
def test_a_report_that_could_not_be_sent(cloud, aws, tmp_path, fault):
    """Where the report of a group that is left open could not be sent, the next attempt sends it, and no other one."""
    braked(cloud, tmp_path, 1)
    with warm(aws, NAME) as function:
        deliver(function, config_event(open_group(1)))
        messages(cloud)
        late = open_group(2)
        aws.proxy.breaks(*rules(SENDING, [FAULTS[fault]]))
        assert len(deliver(function, config_event(late), attempts=1)) == 1
        assert reports(cloud) == []
        aws.proxy.heal()
        assert len(deliver(function, config_event(late))) == 3
    assert [(group, state) for group, state, _ in reports(cloud)] == [(late["GroupId"], "not closed")]


def test_many_events_at_once(cloud, tmp_path):
    """However many events come at once, some twice: no hour changes more groups, none is lost or reported twice."""
    braked(cloud, tmp_path, AT_MOST)
    groups = {group["GroupId"]: group for group in map(open_group, range(1, EVENTS * 4 // 5 + 1))}
    left = [config_event(group) for group in ([*groups.values()] * 2)[:EVENTS]]
    hours, attempts = [], 3
    with (
        deployed(cloud, NAME, processes=PROCESSES) as function,
        ThreadPoolExecutor(PROCESSES) as pool,
    ):
        while left and len(hours) < len(groups):
            failures = list(pool.map(partial(deliver, function, attempts=attempts), left))
            left = [sent for sent, errors in zip(left, failures, strict=True) if errors]
            closed = {group_id for group_id, group in groups.items() if is_closed(group)}
            said = [(group_id, state) for group_id, state, _ in reports(cloud)]
            hours, attempts = hours + an_hour_passes(cloud), 1  # as c7n-ingress replay
            assert sorted(said) == sorted(set(said))
            assert {group_id for group_id, state in said if state == "not closed"} == groups.keys() - closed
            assert {group_id for group_id, state in said if state == "closed"} <= closed
    assert left == []
    assert all(map(is_closed, groups.values()))
    assert max(map(len, hours)) == AT_MOST
    assert sorted(group_id for hour in hours for group_id in hour) == sorted(groups)
