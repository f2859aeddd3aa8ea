import re

import pytest
from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import LambdaBackend

from c7n_ingress_tools import pause
from c7n_ingress_tools.pause import TAG
from tests.support.docs import blocks, commands
from tests.support.embedded import ACCOUNT, ROOT
from tests.support.followed import DEPLOY, attempted, deployed_pack, typed

NAME, DAILY = "custodian-open-ingress", "custodian-open-ingress-daily"
PAUSE, RESUME = commands(blocks("docs/operate.md", "Pause everything")[0])


@pytest.fixture
def pack(cloud, tmp_path):
    """Return a copy of the pack that was deployed as docs/deploy.md says."""
    return deployed_pack(cloud, tmp_path)


def limits(cloud):
    """Return the reserved concurrency of each function that has one."""
    client = cloud.session().client("lambda")
    found = {each["FunctionName"]: client.get_function(FunctionName=each["FunctionName"]) for each in every(client)}
    limited = {name: each["Concurrency"] for name, each in found.items() if "Concurrency" in each}
    return {name: each["ReservedConcurrentExecutions"] for name, each in limited.items()}


def every(client):
    """Return the configuration of each function."""
    return client.list_functions()["Functions"]


def tags(cloud, name):
    """Return a function's tags."""
    return cloud.session().client("lambda").get_function(FunctionName=name)["Tags"]


def test_pause_and_resume(cloud, pack):
    """All of the policies' functions stop and start again, each with the reserved concurrency that it had."""
    client = cloud.session().client("lambda")
    client.put_function_concurrency(FunctionName=DAILY, ReservedConcurrentExecutions=5)
    names = {each["FunctionName"] for each in every(client)}
    said = typed(cloud, pack, PAUSE)
    assert limits(cloud) == dict.fromkeys(names - {"custodian-mailer"}, 0)
    assert said.count(": paused\n") == len(names) - 1
    assert said.endswith(f"  {RESUME}  # to start them again\n")
    assert f" by arn:aws:sts::{ACCOUNT}:" in tags(cloud, NAME)[TAG]

    before = tags(cloud, NAME)[TAG]
    assert f"paused already, since {before.split()[0]}" in typed(cloud, pack, PAUSE)
    assert tags(cloud, NAME)[TAG] == before

    said = typed(cloud, pack, RESUME)
    assert limits(cloud) == {DAILY: 5}
    assert TAG not in tags(cloud, NAME)
    assert f"{NAME}: runs again; it was paused since {before.split()[0]} by arn:aws:sts::" in said
    _, following = said.split("next:\n")
    assert [line.split("  #")[0].strip() for line in following.splitlines()] == [
        "c7n-ingress replay --region us-east-1",
        "custodian run --region us-east-1 --vars-file settings.yml -s out policies/open-ingress-sweep.yml",
    ]


@pytest.mark.usefixtures("pack")
def test_a_function_that_is_deleted_meanwhile(cloud):
    """A function that somebody deletes in these seconds keeps no other from being paused."""
    going = pause.pause(cloud.session())
    next(going)
    cloud.session().client("lambda").delete_function(FunctionName=DAILY)
    said = {each.function: each.said for each in going}
    assert said.pop(DAILY) == "was deleted meanwhile"
    assert {*said.values()} == {"paused"}


def refused(cloud, pack, command, operation):
    """Run a command while AWS refuses one function, which is being deployed, and return what the command prints."""
    allowed = getattr(LambdaBackend, operation)

    def answer(backend, name, *values):
        if name == NAME:
            raise LambdaClientError("ResourceConflictException", "An update is in progress")
        return allowed(backend, name, *values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LambdaBackend, operation, answer)
        done = attempted(cloud, pack, command)
    assert done.returncode == 1, done
    return done.stdout


def test_a_function_that_aws_refuses(cloud, pack):
    """If AWS refuses one function, the command reports it, changes the others, and leaves no tag that is wrong."""
    names = {each["FunctionName"] for each in every(cloud.session().client("lambda"))} - {"custodian-mailer"}
    why = f"{NAME}: failed, so run this command again: An error occurred (ResourceConflictException)"

    assert why in refused(cloud, pack, PAUSE, "put_function_concurrency")
    assert limits(cloud) == dict.fromkeys(names - {NAME}, 0)
    assert TAG not in tags(cloud, NAME)

    typed(cloud, pack, PAUSE)
    assert why in refused(cloud, pack, RESUME, "delete_function_concurrency")
    assert limits(cloud) == {NAME: 0}
    assert TAG in tags(cloud, NAME)


@pytest.mark.usefixtures("pack")
def test_tags_that_get_function_leaves_out(cloud):
    """A paused function starts again also for a caller who gets no tags from GetFunction."""
    session = cloud.new_session()
    session.events.register("after-call.lambda.GetFunction", lambda parsed, **_: parsed.pop("Tags", None))
    assert {each.said for each in pause.pause(session)} == {"paused"}
    assert all(each.done for each in pause.resume(session))
    assert limits(cloud) == {}


def test_the_tag_of_any_caller():
    """The tag says who paused a function, in characters that a tag may have."""
    value = str(pause.Paused("2026-01-01T00:00:00Z", "arn:aws:sts::1:assumed-role/admin/jo,=@x", "5"))
    assert re.fullmatch(r"[\w .:/=+@-]+", value)
    assert pause.paused({TAG: value}).before == "5"


def test_what_somebody_else_has_stopped(cloud, pack):
    """A function that somebody stopped by hand stays stopped, and resume names the command that starts it."""
    client = cloud.session().client("lambda")
    client.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=0)
    assert f"{NAME}: has the reserved concurrency 0 already" in typed(cloud, pack, PAUSE)
    done = attempted(cloud, pack, RESUME)
    assert done.returncode == 1
    assert f"aws lambda delete-function-concurrency --region us-east-1 --function-name {NAME}" in done.stdout
    assert limits(cloud) == {NAME: 0}


def test_a_deployment_starts_a_paused_function(cloud, pack):
    """A deployment of a policy restores its concurrency and removes the tag, as the help says."""
    typed(cloud, pack, PAUSE)
    typed(cloud, pack, f"{DEPLOY} -p open-ingress-daily policies/open-ingress.yml")
    assert DAILY not in limits(cloud)
    assert TAG not in tags(cloud, DAILY)
    assert f"{DAILY}: was not paused" in typed(cloud, pack, RESUME)


@pytest.mark.parametrize("command", [PAUSE, RESUME])
def test_where_nothing_is(cloud, command):
    """In a region that has nothing of the pack, the command says so and fails."""
    done = attempted(cloud, ROOT, command)
    assert done.returncode == 1
    assert done.stderr.endswith("us-east-1: no function of the policies is here: is it the right account and region?\n")
