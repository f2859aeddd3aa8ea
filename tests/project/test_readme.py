import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from c7n.config import Config
from c7n.policy import PolicyCollection, load
from c7n.resources import load_resources
from c7n.utils import yaml_load

from c7n_ingress.decide.authorized import parse_list, refuse_documentation
from c7n_ingress_tools.embedded_aws.ec2 import load_groups, load_vpcs
from tests.support.embedded import CASES_OF_OPEN_INGRESS, ROOT, VPC, as_the_message_has_it, cases, group_of, undo_lines
from tests.support.followed import warm
from tests.support.readme import BLOCKS, COMMANDS, GROUPS, README, put_networks_in, with_own_networks
from tests.support.stacked import create

ELSEWHERE = {
    "make test": "runs this very test",
    "pip install .": "tests/project/test_install.py runs it, in a fresh virtual environment",
    "pip install '.[mailer]'": "tests/project/test_install.py installs the project; the extra adds packages alone",
    "pip install '.[report]'": "the same",
    "pip install 'c7n-left>=0.3.39,<0.4'": "test_terraform.py holds the version, the extra `left` installs it",
}
"""Commands that are not run here, and why."""


@pytest.fixture(scope="module")
def reader(embedded_aws, tmp_path_factory):
    """Make what a reader has: a clone, the commands on the path, an account with groups, and the stack."""
    embedded_aws.reset()
    clone = tmp_path_factory.mktemp("reader") / "c7n-ingress"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".git", ".venv", ".local", ".*_cache", "__pycache__"))
    (clone / ".venv").symlink_to(ROOT / ".venv")
    for path in (clone / "pyproject.toml", *clone.glob("requirements/*.lock")):
        os.utime(path, (0, 0))  # older than the environment, so that make does not install the clone
    environment = embedded_aws.environment()
    path = os.pathsep.join([str(warm()), str(Path(sys.executable).parent), environment["PATH"]])
    home = str(clone.parent)  # where c7n caches what it has listed
    return embedded_aws, clone, {**environment, "PATH": path, "HOME": home}


def run(reader, command):
    """Run a command as the reader does, in the clone."""
    _, clone, environment = reader
    return subprocess.run(
        ["bash", "-euc", command], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )


def test_the_demo_shows_what_the_readme_shows(reader):
    """`make demo` prints the table that stands in the README, to the letter."""
    result = run(reader, "make demo")
    assert result.returncode == 0, result.stderr
    (shown,) = [text for language, text in BLOCKS if language == "text"]
    printed = [line.rstrip() for line in result.stdout.splitlines()]
    assert [line for line in shown.splitlines() if line not in printed] == []


def test_every_command_runs(reader):
    """Each command of the README, in its order, does what its reader expects of it: it ends with success."""
    cloud, clone, _ = reader
    ec2 = cloud.session().client("ec2")
    lines = []
    for command in COMMANDS:
        if command in ELSEWHERE or command == "make demo":
            continue
        if command.startswith("aws ec2 describe-security-groups"):
            groups = [group_of(case, number) for number, case in enumerate(GROUPS, 1)]
            load_groups(groups)
            load_vpcs([{"VpcId": VPC, "CidrBlock": "10.0.0.0/16"}])
            (clone / "groups.json").write_text(json.dumps({"SecurityGroups": groups}))
            put_networks_in(clone)
            continue
        if command.startswith("aws cloudformation deploy"):
            created = create(cloud, Email=re.search(r"Email=(\S+)", command)[1])
            assert str(created)
            continue
        if command.startswith("c7n-left"):
            module = clone / "path" / "to" / "root-module"
            module.mkdir(parents=True)
            (module / "main.tf").write_text('resource "aws_security_group" "web" {}')
        if command.startswith("echo "):
            lines = lines or undo_lines(cloud, "bastion")
            command = as_the_message_has_it(lines, command)  # noqa: PLW2901 - the same line with other ids
        result = run(reader, with_own_networks(command))
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    sources = {
        rule["CidrIpv4"]
        for rule in ec2.describe_security_group_rules()["SecurityGroupRules"]
        if not rule["IsEgress"] and "CidrIpv4" in rule
    }
    assert sources >= {"0.0.0.0/0"}, "the site is public, and the bastion restored"


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_not_run_here_stands_in_the_readme(command):
    """A command that this test passes over is one that the README has."""
    assert command in COMMANDS


@pytest.mark.parametrize("text", [text for language, text in BLOCKS if language == "yaml" and "policies:" in text])
def test_a_whole_policy_loads(text, tmp_path):
    """A block that is a policy is taken by c7n's own loader."""
    path = tmp_path / "policy.yml"
    path.write_text(text)
    assert len(load(Config.empty(region="us-east-1", account_id="123456789012"), str(path))) == 1


def test_the_action_alone_loads():
    """The block that is an action alone is one, in a policy that says what its anchors stand for."""
    (text,) = [text for language, text in BLOCKS if language == "yaml" and text.startswith("actions:")]
    anchors = "vars: [&authorized [198.18.7.0/24], &tell [me@example.com], &queue custodian-mailer]\n"
    action = yaml_load(anchors + text)["actions"]
    policy = {"name": "p", "resource": "aws.security-group", "filters": [{"type": "ingress", "Ports": [22]}]}
    options = Config.empty(region="us-east-1", account_id="123456789012")
    load_resources(("aws.security-group",))
    (loaded,) = PolicyCollection.from_data({"policies": [{**policy, "actions": action}]}, options)
    loaded.validate()
    assert loaded.resource_manager.actions[0].data["preview"] is True


SHOWN = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "mode").rglob("*.md")),
    *sorted((ROOT / "policies").rglob("*.md")),
    *sorted((ROOT / "actions" / "c7n_ingress").glob("*.py")),
]
COPIED = re.compile(r"^```(?!text)\w+\n.*?^```$|authorized: \[.*?\]", re.DOTALL | re.MULTILINE)
CIDR = re.compile(r"(?<![\w.:])(?:\d+(?:\.\d+){3}|[0-9a-f]*(?::[0-9a-f]*){2,7})/\d+(?![\w.])")


def test_networks_that_are_shown_are_refused():
    """A run refuses each network that somebody may copy from the documentation."""
    shown = [(path, cidr) for path in SHOWN for each in COPIED.findall(path.read_text()) for cidr in CIDR.findall(each)]
    assert len(shown) >= 7
    assert [(path, cidr) for path, cidr in shown if is_taken(cidr)] == []


def is_taken(cidr):
    """Whether a run takes a network."""
    try:
        refuse_documentation(parse_list([cidr]))
    except ValueError:
        return False
    return True


def test_the_counts_are_real():
    """What the README counts is as many as it says."""
    assert f"{len(CASES_OF_OPEN_INGRESS)} groups as data" in README
    faults = cases("faults")
    ways = 3 * len(faults["faults"]) + len(faults["sequences"])
    assert f"{len(faults['calls'])} calls, each in {ways} ways" in README


def test_links_lead_somewhere():
    """Each link into the repository leads to a file, each link into the page to a heading."""
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", README):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (ROOT / link.partition("#")[0]).exists(), link
