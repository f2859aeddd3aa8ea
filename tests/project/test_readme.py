import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from c7n.config import Config
from c7n.policy import PolicyCollection, load
from c7n.resources import load_resources
from c7n.utils import yaml_load

from c7n_ingress.decide.authorized import parse_list, refuse_documentation
from c7n_ingress.decide.settings import check
from c7n_ingress_tools.embedded_aws.ec2 import load_groups, load_vpcs
from c7n_ingress_tools.mailer.deploy import CONFIG, read_config
from tests.support import forked
from tests.support.docs import (
    BLOCKS,
    GROUPS,
    PAGES,
    README,
    blocks,
    commands,
    commands_of,
    with_own_networks,
    write_settings,
)
from tests.support.embedded import CASES_OF_OPEN_INGRESS, ROOT, VPC, as_the_message_has_it, cases, group_of, undo_lines
from tests.support.followed import DEPLOY, stack_of
from tests.support.stacked import create

INSTALLED = "tests/project/test_release.py and test_install.py install the package; an extra adds only packages"
OPERATED = "tests/deployed runs it, where the pack is deployed: in test_operations, _check, _canary or _pause"
ACCOUNTS = "tests/deployed/test_stack.py and test_accounts.py run it, in several regions and accounts"
ELSEWHERE = {
    "make test": "runs this very test",
    "make demo": "test_the_demo_shows_what_the_readme_shows runs it",
    "pip install c7n-ingress": INSTALLED,
    "pip install 'c7n-ingress[mailer]'": INSTALLED,
    "pip install 'c7n-ingress[report]'": INSTALLED,
    "pip install 'c7n-ingress[mailer,org,report]'": INSTALLED,
    "pip install 'c7n-ingress[report,org]'": INSTALLED,
    "pip install --upgrade 'c7n-ingress[mailer]'": INSTALLED,
    "python3 -m venv .venv && . .venv/bin/activate && pip install 'c7n-ingress[mailer]'": INSTALLED,
    "pip install 'c7n-left>=0.3.39,<0.4'": "test_terraform.py holds the version, the extra `left` installs it",
    "c7n-ingress init pack": "tests/project/test_release.py runs it, from the wheel",
    "c7n-ingress init .": "tests/project/test_init.py updates a folder",
    **dict.fromkeys(commands_of("docs/operate.md"), OPERATED),
    **{line: OPERATED for text in blocks("docs/deploy.md", "Switch it off") for line in commands(text)},
    **dict.fromkeys(commands(blocks("docs/notice.md", "Change from closing at once to notice")[0]), OPERATED),
    **dict.fromkeys(commands(blocks("docs/notice.md", "Change from notice to closing at once")[0]), OPERATED),
    **dict.fromkeys(commands_of("docs/many-accounts.md"), ACCOUNTS),
    **dict.fromkeys(commands_of("docs/c7n.md"), "tests/project/test_install.py runs it, with the package installed"),
}
"""Commands that are not run here, and why."""


def cloned(folder):
    """Make a clone, and return its folder; make takes an environment in it for up to date."""
    clone = folder / "c7n-ingress"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".git", ".venv", ".local", ".*_cache", "__pycache__"))
    for path in (clone / "pyproject.toml", *clone.glob("requirements/*.lock")):
        os.utime(path, (0, 0))  # older than the environment, so that make does not install the clone
    return clone


def with_commands_that_are_loaded(folder):
    """Make an environment for make, in which the command starts at once."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "bin" / "c7n-ingress").symlink_to(forked.commands() / "c7n-ingress")
    for name in ("local", "flows"):
        (folder / name).touch()


@pytest.fixture
def reader(embedded_aws, tmp_path):
    """Return the embedded AWS with a reader's groups, a clone with the reader's settings, and an environment."""
    embedded_aws.reset()
    groups = [group_of(case, number) for number, case in enumerate(GROUPS, 1)]
    load_groups(groups)
    load_vpcs([{"VpcId": VPC, "CidrBlock": "10.0.0.0/16"}])
    clone = cloned(tmp_path)
    with_commands_that_are_loaded(clone / ".venv")
    (clone / "groups.json").write_text(json.dumps({"SecurityGroups": groups}))
    module = clone / "path" / "to" / "root-module"
    module.mkdir(parents=True)
    (module / "main.tf").write_text('resource "aws_security_group" "web" {}')
    write_settings(clone)
    environment = embedded_aws.environment()
    path = os.pathsep.join([str(forked.commands()), str(Path(sys.executable).parent), environment["PATH"]])
    return embedded_aws, clone, {**environment, "PATH": path, "HOME": str(tmp_path)}  # HOME: where c7n caches lists


def run(reader, command):
    """Run a command as the reader does, in the clone."""
    _, clone, environment = reader
    return subprocess.run(
        ["bash", "-euc", command], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )


def done(reader, command):
    """Run a command that must succeed."""
    result = run(reader, with_own_networks(command))
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def test_the_demo_shows_what_the_readme_shows(embedded_aws, tmp_path):
    """`make demo` prints the README's table exactly."""
    clone = cloned(tmp_path)
    with_commands_that_are_loaded(clone / ".venv")
    result = done((embedded_aws, clone, embedded_aws.environment()), "make demo")
    (shown,) = [block.text for block in BLOCKS if (block.page, block.language) == ("README.md", "text")]
    printed = [line.rstrip() for line in result.stdout.splitlines()]
    assert [line for line in shown.splitlines() if line not in printed] == []


def run_here(page):
    """Return the commands of a page that are run here. README's are also on the pages to which it links."""
    elsewhere = {*ELSEWHERE, *(line for each in PAGES if page == "README.md" != each for line in commands_of(each))}
    return [command for command in commands_of(page) if command not in elsewhere]


@pytest.mark.parametrize("page", [page for page in PAGES if run_here(page)])
def test_every_command_of_a_page_succeeds(reader, page):
    """Each command of a page, in the page's order, ends with success."""
    cloud, *_ = reader
    lines = []
    written = run_here(page)
    if not any(command.startswith("aws cloudformation deploy") for command in written):
        create(cloud, Email="you@example.com")
    for command in written:
        if command.startswith("aws ec2 describe-security-groups"):
            continue  # the reader has the file
        if command.startswith("aws cloudformation deploy"):
            region, parameters = stack_of(command)
            assert create(cloud, region, **parameters)
        elif command.startswith("c7n-ingress undo "):
            if not lines:
                done(reader, f"{DEPLOY} policies/open-ingress-sweep.yml")
                lines = undo_lines(cloud, "bastion")
            done(reader, f"{as_the_message_has_it(lines, command)} --yes")
        else:
            done(reader, command)
    if page == "docs/undo.md":
        rules = cloud.session().client("ec2").describe_security_group_rules()["SecurityGroupRules"]
        assert "0.0.0.0/0" in {rule.get("CidrIpv4") for rule in rules if rule["FromPort"] == 22}


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_not_run_here_is_on_a_page(command):
    """A command that is not run here is on a page."""
    assert any(command in commands_of(page) for page in PAGES)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda b: b.page)
def test_every_yaml_block_loads(block, tmp_path):
    """A block is a policy, the actions of one, what the mailer's configuration adds, or settings, and it is valid."""
    text = block.text
    if "policies:" in text:
        (tmp_path / "policy.yml").write_text(text)
        (policy,) = load(Config.empty(region="us-east-1", account_id="123456789012"), str(tmp_path / "policy.yml"))
        policy.validate()
    elif text.startswith("actions:"):
        actions = yaml_load(text)["actions"]
        data = {"name": "p", "resource": "aws.security-group", "filters": [{"type": "ingress", "Ports": [22]}]}
        load_resources(("aws.security-group",))
        options = Config.empty(region="us-east-1", account_id="123456789012")
        (policy,) = PolicyCollection.from_data({"policies": [{**data, "actions": actions}]}, options)
        policy.validate()
    elif text.startswith("recipients:"):
        (tmp_path / "mailer.yml").write_text(yaml.safe_dump(yaml_load(CONFIG.read_text()) | yaml_load(text)))
        assert read_config(tmp_path / "mailer.yml").items() >= yaml_load(text).items()
    else:
        check({"authorized": ["vpc"], **yaml_load(text)})


SHOWN = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "policies").rglob("*.md")),
    *sorted((ROOT / "actions").rglob("*.py")),
]
COPIED = re.compile(r"^```(?!text)\w+\n.*?^```$|authorized: \[.*?\]", re.DOTALL | re.MULTILINE)
CIDR = re.compile(r"(?<![\w.:])(?:\d+(?:\.\d+){3}|[0-9a-f]*(?::[0-9a-f]*){2,7})/\d+(?![\w.])")


def test_what_the_pages_add_to_the_settings(tmp_path):
    """What a page adds to the settings counts, also if their last line is a comment without a newline."""
    (tmp_path / "settings.yml").write_text("undo-days: 7  # days")
    lines = [
        line for page in PAGES for line in commands_of(page) if line.startswith(("{ ", "cp settings.yml", "echo "))
    ]
    for line in lines:
        subprocess.run(["/bin/bash", "-c", line], cwd=tmp_path, check=True)
    with (tmp_path / "accounts.yml").open("a") as file:  # as c7n-org aws-accounts does
        file.write("accounts: []\n")
    assert {path.stem: yaml_load(path.read_text()) for path in tmp_path.glob("*.yml")} == {
        "settings": {"undo-days": 7},
        "preview": {"undo-days": 7, "preview": True},
        "approved": {"undo-days": 7, "only": "plan.json"},
        "accounts": {"vars": {"undo-days": 7}, "accounts": []},
    }


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
    """The numbers of docs/guarantees.md are the numbers of the tests."""
    guarantees = PAGES["docs/guarantees.md"]
    faults = cases("faults")
    ways = 3 * len(faults["faults"]) + len(faults["sequences"])
    counts = [
        f"{len(CASES_OF_OPEN_INGRESS)} groups as data",
        f"{len(faults['calls'])} calls, each in {ways} ways",
        f"{len(cases('journal')['cases'])} journals",
        f"{len(cases('flows')['cases'])} kinds of traffic",
        f"{len(cases('recordings')['recorded'])} groups that c7n's tests recorded",
    ]
    assert [count for count in counts if count not in guarantees] == []


def test_the_readme_is_short():
    """The README is one screen and a half."""
    assert len(README.splitlines()) <= 150


def headings_of(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Each link of a page leads to a file of the repository, and its anchor to a heading there."""
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), link
            assert not anchor or anchor in headings_of(target), link


def test_the_architecture_names_real_files():
    """Each file that docs/architecture.md names exists, under the folder of the walk."""
    named = set(re.findall(r"[\w/-]+\.(?:py|yml)", PAGES["docs/architecture.md"]))
    there = [path.as_posix() for top in ("actions", "mode", "policies") for path in (ROOT / top).rglob("*")]
    assert len(named) > 20
    assert [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in there)] == []
