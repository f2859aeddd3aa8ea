"""How many groups a deployed policy changes, which Lambda tries again where it fails."""

import pytest
from c7n.config import Config
from c7n.policy import LambdaMode, PolicyCollection, execution
from c7n.resources import load_resources

from c7n_ingress.aws.job import is_tried_again
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from tests.support.embedded import (
    ACCOUNT,
    custodian,
    group_of,
    load,
    make_queue,
    messages,
    rules_of,
    shipped,
    source_of,
)

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
GROUPS = [group_of({"name": f"group {number}", "ingress": [SSH]}, number) for number in range(1, 8)]
UNREACHABLE = "changed nothing: custodian-mailer cannot be reached, so nobody would be notified"
MODES = {"periodic": {}, "schedule": {"type": "schedule", "scheduler-role": "custodian-open-ingress"}}


def deploy(cloud, folder, mode="periodic", change=None):
    """Deploy the daily policy in a mode, with two groups as its limit."""
    cloud.session().client("iam").create_role(RoleName="custodian-open-ingress", AssumeRolePolicyDocument="{}")
    cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")

    def chosen(policy):
        policy["mode"] |= MODES[mode]
        (action,) = policy["actions"]
        del action["reopened"]
        if change:
            change(action)

    daily = shipped("open-ingress-daily", folder, ["198.18.7.0/24"], chosen, at_most=2)
    return custodian(cloud, "run", "--region", "us-east-1", "-s", folder, *daily)


def invoked(function, tries=3):
    """Invoke a function as Lambda does: where it fails, twice more. Return its errors."""
    try:
        function.invoke({"source": "aws.scheduler", "detail": "{}"})
    except FunctionError as error:
        return [error.error_message, *(invoked(function, tries - 1) if tries > 1 else [])]
    return []


def closed():
    """Return how many of the groups are closed."""
    return sum("0.0.0.0/0" not in map(source_of, rules_of(group["GroupId"]).values()) for group in GROUPS)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_leaves_groups_open(cloud, tmp_path, mode):
    """In each deployed mode, a run that has reported what stays open does not fail: Lambda would repeat it."""
    make_queue(cloud)
    done = deploy(cloud, tmp_path, mode)
    assert done.returncode == 0, done.stderr
    load(GROUPS)
    with deployed(cloud, "custodian-open-ingress-daily", folder=tmp_path) as function:
        assert invoked(function) == []
    assert closed() == 2
    (message,) = messages(cloud)
    assert "5 groups not closed" in message["action"]["subject"]


def test_a_queue_that_is_not_there(cloud, tmp_path):
    """If nobody can be notified of what stays open, nothing is changed and the run fails, each time."""
    assert deploy(cloud, tmp_path).returncode == 0
    load(GROUPS)
    with deployed(cloud, "custodian-open-ingress-daily", folder=tmp_path) as function:
        errors = invoked(function)
        assert len(errors) == 3
        assert {
            "changed nothing: custodian-mailer cannot be reached, so nobody would be notified" in e for e in errors
        } == {True}
        assert closed() == 0
        make_queue(cloud)
        assert invoked(function) == []
    assert closed() == 2


def test_a_topic_that_is_not_there(cloud, tmp_path):
    """A topic is looked for as a queue is."""
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:messages"
    by_topic = {"transport": {"type": "sns", "topic": topic}}
    assert deploy(cloud, tmp_path, change=lambda action: action["notify"].update(by_topic)).returncode == 0
    load(GROUPS)
    with deployed(cloud, "custodian-open-ingress-daily", folder=tmp_path) as function:
        assert len(invoked(function)) == 3
        assert closed() == 0
        cloud.session().client("sns").create_topic(Name="messages")
        assert invoked(function) == []
    assert closed() == 2


def test_a_limit_that_nobody_hears_of(cloud, tmp_path):
    """A deployed policy with a limit and without `notify` is refused."""
    done = deploy(cloud, tmp_path, change=lambda action: action.pop("notify"))
    assert done.returncode != 0
    assert "at-most: a run that leaves groups open has to report them" in done.stderr


load_resources(("aws.security-group", "aws.ec2"))
DEPLOYED = sorted(kind for kind, mode in execution.items() if issubclass(mode, LambdaMode))


@pytest.mark.parametrize("mode", [*DEPLOYED, "pull", None])
def test_what_lambda_tries_again(mode):
    """Lambda tries each policy again that c7n deploys to it, and no other."""
    data = {"name": "a-policy", "resource": "aws.security-group", **({"mode": {"type": mode}} if mode else {})}
    options = Config.empty(region="us-east-1", account_id=ACCOUNT)
    (policy,) = PolicyCollection.from_data({"policies": [data]}, options)
    assert is_tried_again(policy.resource_manager) == (mode in DEPLOYED)
