import os
import signal
import subprocess
import sys
import time
from importlib import metadata

import click
import pytest

from c7n_ingress_tools.cli import cli, main
from tests.support.forked import C7N_INGRESS, forked
from tests.support.meanwhile import started


def commands(group=cli, words=()):
    """Return the words of each command."""
    found = [words]
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, (*words, name))
    return found


def run(folder, *arguments):
    """Run the command in a folder, without credentials."""
    alone = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return forked([C7N_INGRESS, *arguments], cwd=folder, env=alone)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help(capsys, words):
    """Each command explains itself and each of its options in sentences."""
    assert main([*words, "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: c7n-ingress")
    command = cli
    for word in words:
        command = command.commands[word]
    assert command.help.rstrip().endswith(".")
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    assert [each.name for each in options if not (each.help or "").endswith(".")] == []


def test_the_command_prints_its_version(capsys):
    """`--version` prints the version that is installed."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"c7n-ingress {metadata.version('c7n-ingress')}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report", "nowhere"], "nowhere: no run"),
        (["rehearse", "nowhere.json"], "nowhere.json"),
        (["rehearse", "--interfaces", "nowhere.json"], "nowhere.json"),
        (
            ["rehearse", "none.json"],
            "none.json: holds no group: check the region. This prints the right thing: aws",
        ),
        (["mailer", "deploy", "-c", "nowhere.yml"], "nowhere.yml: No such file or directory"),
        (["mailer", "deploy", "-c", "empty.yml"], "empty.yml: the file is empty: `c7n-ingress init DIR` writes one"),
        (["rehearse", "--flows", ""], "a path is empty: name the file or the folder, or leave it out"),
        (["report", ""], "a path is empty"),
        (["replay", "--region", "us-east-1"], "no AWS credentials found"),
        (["uninstall", "--region", "us-east-1"], "no AWS credentials found"),
        (["replay", "--region", "us east 1"], "us east 1"),
        (["uninstall", "--region", ""], "--region is empty: name the region, such as us-east-1"),
        (["report", "--journal", "--region", ""], "--region is empty"),
        (["undo", "web", "--run", "1", "--region", "us-east-1"], "'web' is not the id of a security group: copy it"),
    ],
)
def test_what_cannot_run_is_one_line(tmp_path, arguments, says):
    """An empty path, region or file, a path that does not exist or no credentials end a command with 2 and one line."""
    (tmp_path / "none.json").write_text('{"SecurityGroups": []}')
    (tmp_path / "empty.yml").touch()
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def shell(folder, line, **environment):
    """Run a line in a folder by a shell, where a command starts by itself, with streams of its own."""
    (folder / "groups.json").write_text('[{"GroupId": "sg-00000001", "IpPermissions": []}]')
    environment = {**os.environ, "PATH": f"{C7N_INGRESS.parent}:{os.defpath}", **environment}
    return subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_characters_that_the_output_lacks(tmp_path):
    """An output in an encoding that lacks a character has a question mark instead of it."""
    (folder := tmp_path / "checks" / "shop" / "us-east-1").mkdir(parents=True)
    (folder / "stdout").write_text("not whole")
    done = shell(tmp_path, "c7n-ingress check --of checks", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("? shop us-east-1: ")


@pytest.mark.parametrize(
    "closed", ["<&- >&- 2>&-", *(pytest.param(each, marks=pytest.mark.soak) for each in ("<&-", ">&-", "2>&-"))]
)
def test_closed_streams(tmp_path, closed):
    """A command whose input, output or errors are closed does its work."""
    done = shell(tmp_path, f"c7n-ingress rehearse groups.json {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / ".local" / "run" / "report.html").exists()


def test_another_c7n_ends_a_command_with_2(tmp_path):
    """A command that would load a c7n with which the pack does not work ends with 2, and says which one to install."""
    other = "import c7n.version as c7n; c7n.version = '0.10.1'"
    code = f"{other}; from c7n_ingress_tools.cli import main; exit(main(['check']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("c7n-ingress does not work with c7n 0.10.1: pip install 'c7n>=0.9.53,<0.10'")


def test_an_address_that_does_not_answer_asks_for_the_region(monkeypatch, capsys):
    """A region that does not exist has no address, and botocore says only that it cannot connect."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert main(["replay", "--region", "us-esat-1"]) == 2
    said = capsys.readouterr().err
    assert said.endswith('127.0.0.1:9/": is it the right region, and does the network reach it?\n')


@pytest.mark.parametrize("arguments", [[], ["undone"], ["replay"], ["report", "--out"]])
def test_a_wrong_command_line(tmp_path, arguments):
    """A command line that is none ends with 2 and shows how it is used."""
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert "Usage: c7n-ingress" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", [0.05, 1.0])
def test_ctrl_c(tmp_path, seconds):
    """Ctrl-C in a terminal ends a rehearsal with 2 and without a traceback, also while its process starts."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = started([C7N_INGRESS, "rehearse"], cwd=tmp_path, env=environment, start_new_session=True)
    while not list(tmp_path.glob("*/socket")):  # the process is started next
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "c7n-ingress: stopped"


def test_ctrl_c_while_the_command_is_imported(tmp_path):
    """Ctrl-C before the command has read its command line ends it with 2 and without a traceback."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([C7N_INGRESS, "init", "new"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, b"c7n-ingress: stopped\n")
