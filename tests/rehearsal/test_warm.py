import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import yaml
from c7n.utils import yaml_load

from c7n_ingress_tools.cli import main
from c7n_ingress_tools.rehearsal import warm
from tests.support.embedded import CUSTODIAN, ROOT, policy_named
from tests.support.posted import TOPIC, Post, message_to

CALLS = {
    "an answer": ["version"],
    "what the pack adds": ["schema", "aws.security-group.actions.replace-ingress"],
    "a policy that is not valid": ["validate", "wrong.yml"],
    "no policy at all": ["run", "-s", "out"],
}
MORE_CALLS = {
    "help that names the command": ["run", "--help"],
    "a policy that is valid": ["validate", str(ROOT / "policies" / "open-ingress.yml")],
    "no such command": ["march"],
}


@pytest.fixture(scope="module")
def commands():
    """Return commands that start at once."""
    with warm.commands() as found:
        yield found


def test_the_runtime_whose_bytecode_is_made_beforehand():
    """The bytecode that is made beforehand is for the policy that a rehearsal deploys."""
    assert policy_named("open-ingress")["mode"]["runtime"] == warm.RUNTIME


def environment(**more):
    """Return this process's environment with what makes an output the same twice."""
    return {**os.environ, "COLUMNS": "80", "TZ": "UTC", **more}


def called(found, command, environment, folder):
    """Run a command, and return what `subprocess.run` returns for text."""
    files = [folder / f"{uuid.uuid4()}" for _ in range(2)]
    with Path(os.devnull).open() as nothing, files[0].open("w") as output, files[1].open("w") as errors:
        call = found.call(command, environment, folder, [each.fileno() for each in (nothing, output, errors)])
        code = warm.exit_code(call)
    return subprocess.CompletedProcess(command, code, *(file.read_text(encoding="utf-8") for file in files))


def seen(done):
    """Return all that a person sees of a command; the times in a log are not the same twice."""
    return done.returncode, without_times(done.stdout), without_times(done.stderr)


def without_times(output):
    """Return the lines of an output without the time that a log's begin with."""
    return [line.partition(": ")[2] if line[:2] == "20" else line for line in output.splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [
        *(pytest.param(call, id=name) for name, call in CALLS.items()),
        *(pytest.param(call, id=name, marks=pytest.mark.soak) for name, call in MORE_CALLS.items()),
    ],
)
def test_a_command_is_the_installed_one(arguments, commands, tmp_path):
    """What a warm command prints, where it prints it and how it ends is what the installed command does."""
    (tmp_path / "wrong.yml").write_text("policies: [{name: x, resource: aws.security-group, filters: [nothing]}]")
    installed = subprocess.run(
        [CUSTODIAN, *arguments], cwd=tmp_path, env=environment(), capture_output=True, check=False, encoding="utf-8"
    )
    assert seen(called(commands, ["custodian", *arguments], environment(), tmp_path)) == seen(installed)


def test_a_command_has_the_environment_of_its_caller(commands, cloud, tmp_path):
    """It asks the AWS that its caller's environment names, and writes where its caller is."""
    (tmp_path / "look.yml").write_text("policies: [{name: look, resource: aws.security-group}]")
    arguments = ["run", "--region", "eu-west-1", "--cache-period", "0", "-s", "out", "look.yml"]
    done = called(commands, ["custodian", *arguments], environment(**cloud.environment()), tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "out" / "look" / "resources.json").exists()
    assert ("ec2", "DescribeSecurityGroups", "eu-west-1") in [call[:3] for call in cloud.calls]


def test_the_process_ends_with_the_one_that_started_it(tmp_path):
    """However the one that uses them ends, no process is left."""
    name = "c7n_ingress_tools.rehearsal"
    code = f"from {name} import warm\nwith warm.commands() as found:\n  print(found.address, flush=True)\n  input()"
    user = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    found = warm.Commands(user.stdout.readline().decode().strip())
    assert answers(found, tmp_path)
    user.send_signal(signal.SIGKILL)
    user.wait()
    until = time.monotonic() + 60
    while answers(found, tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert not answers(found, tmp_path)


def answers(found, folder):
    """Whether a process is there that runs commands."""
    try:
        return called(found, ["custodian", "version"], environment(), folder).returncode == 0
    except ConnectionError:
        return False


def test_a_long_folder_for_temporary_files(tmp_path, monkeypatch, capsys):
    """Where TMPDIR is too long for a socket's address, the command ends with 2 and one line with the fix."""
    long = tmp_path / ("x" * 110)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert main(["rehearse"]) == 2
    assert capsys.readouterr().err.endswith("AF_UNIX path too long: set TMPDIR to a shorter path, such as /tmp\n")


def test_a_command_whose_process_is_gone_has_failed():
    """A call that nobody answers any more ends with 1."""
    call, answer = multiprocessing.Pipe()
    answer.close()
    assert warm.exit_code(call) == 1


def test_mailer_keeps_what_it_could_not_deliver(commands, cloud, tmp_path):
    """Messages that can be delivered leave the queue; one that cannot stays there, and is in the log."""
    post = Post(cloud, tmp_path)
    inbox = post.subscribe()
    post.queue = post.sqs.create_queue(QueueName="another")[
        "QueueUrl"
    ]  # one that waits before it delivers a message again
    nobody = TOPIC.replace("open-ingress", "nobody")
    for message in (message_to(TOPIC), message_to(nobody), message_to(TOPIC)):
        post.send(message)
    settings = yaml_load((ROOT / "mode" / "mailer.yml").read_text()) | {"queue_url": post.queue}
    (tmp_path / "mailer.yml").write_text(yaml.safe_dump(settings))
    done = called(commands, ["mailer", "mailer.yml"], environment(**cloud.environment()), tmp_path)
    assert done.returncode == 0
    assert len(inbox.read()) == 2
    assert nobody in done.stderr
    counted = post.sqs.get_queue_attributes(QueueUrl=post.queue, AttributeNames=["All"])["Attributes"]
    assert (counted["ApproximateNumberOfMessages"], counted["ApproximateNumberOfMessagesNotVisible"]) == ("0", "1")
