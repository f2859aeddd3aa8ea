import json
import os
import re
import subprocess
import tarfile
import zipfile
from datetime import date

import pytest
from packaging.version import Version

from c7n_ingress_tools.embedded_aws.ec2 import load_groups, load_vpcs
from c7n_ingress_tools.init import PARTS, SETTINGS, shipped_names
from tests.support import fresh
from tests.support.docs import GROUPS, commands_of, write_settings
from tests.support.embedded import ROOT, VPC, as_the_message_has_it, group_of, undo_lines
from tests.support.stacked import create

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
REHEARSAL = "c7n-ingress rehearse groups.json"
"""What `make demo GROUPS=groups.json` runs, in a folder that has no Makefile."""

STEPS = ("docs/rehearse.md", "docs/configure.md", "docs/deploy.md", "docs/undo.md")
"""The pages that a new user follows, in order."""

version_in_pyproject = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build as a release is built: the sdist, and the wheel out of it."""
    wheel, sdist = fresh.built(tmp_path_factory.mktemp("dist"))
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, embedded_aws, tmp_path_factory):
    """Install the wheel in an empty environment, with the extra that the rehearsal needs, and lay the pack.

    Yields a function that runs a command in the folder that was written, where there is no clone.
    """
    _, wheel = built
    embedded_aws.reset()
    home = tmp_path_factory.mktemp("home")
    bin_folder = fresh.installed(home / "venv", f"{wheel}[local]")
    environment = embedded_aws.environment() | {"HOME": str(home)}  # where c7n caches what it has listed
    environment["PATH"] = os.pathsep.join([str(bin_folder), environment["PATH"]])

    def run(command, folder=home / "pack"):
        return subprocess.run(
            ["bash", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    written = run("c7n-ingress init pack", home)
    assert written.returncode == 0, written.stderr
    run.folder = home / "pack"
    return run


def test_the_version_is_in_one_place(built):
    """Wheel, sdist and metadata have the version of pyproject.toml."""
    assert [path.name for path in built] == [
        f"c7n_ingress-{version_in_pyproject}.tar.gz",
        f"c7n_ingress-{version_in_pyproject}-py3-none-any.whl",
    ]


def test_the_wheel_adds_no_more_than_its_own_packages(built):
    """The wheel brings two packages, the files that load it, each file of policies/ and mode/ as it is, and no test."""
    sdist, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        packed = {name: archive.read(f"c7n_ingress_tools/pack/{name}") for name in shipped_names()}
    dist_info = f"c7n_ingress-{version_in_pyproject}.dist-info"
    assert {name.partition("/")[0] for name in names} == {
        "c7n_ingress",
        "c7n_ingress_tools",
        "c7n_ingress.pth",
        "c7n_ingress.start",
        dist_info,
    }
    assert packed == {name: (ROOT / name).read_bytes() for name in packed}
    assert {name.split("/")[2] for name in names if "/pack/" in name} == {*PARTS, SETTINGS}
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "tests/conftest.py",
        "policies/open-ingress.yml",
    } <= inside


@pytest.mark.soak
def test_the_steps_of_the_pages(installed, cloud):
    """From the rehearsal to the undo, the pages' commands run from the wheel, in the folder that `init` creates."""
    load_groups(groups := [group_of(case, number) for number, case in enumerate(GROUPS, 1)])
    load_vpcs([{"VpcId": VPC, "CidrBlock": "10.0.0.0/16"}])
    (installed.folder / "groups.json").write_text(json.dumps({"SecurityGroups": groups}))
    write_settings(installed.folder)
    done, lines = [], []
    for written in (command for page in STEPS for command in commands_of(page)):
        command = REHEARSAL if written.startswith("make demo GROUPS=groups.json") else written
        if command.startswith(("make ", "pip ", "python3 -m venv", "c7n-ingress init", "aws ec2 ")):
            continue
        if command.startswith(("c7n-ingress uninstall", "aws cloudformation delete-stack")):  # test_operations.py does
            continue
        if command.startswith("aws cloudformation deploy"):
            assert (installed.folder / "mode" / "stack.yml").read_bytes() == (ROOT / "mode" / "stack.yml").read_bytes()
            assert create(cloud, Email="you@example.com")
            continue
        if command.startswith("c7n-ingress undo "):
            lines = lines or undo_lines(cloud, groups[1]["GroupName"])
            command = f"{as_the_message_has_it(lines, command)} --yes"
        result = installed(command)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        done.append(command.split()[0:3])
    assert REHEARSAL.split()[:3] in done
    assert ["c7n-ingress", "mailer", "deploy"] in done
    assert sum(command[:2] == ["custodian", "run"] for command in done) >= 4
    rules = cloud.session().client("ec2").describe_security_group_rules()["SecurityGroupRules"]
    open_groups = {rule["GroupId"] for rule in rules if rule.get("CidrIpv4") == "0.0.0.0/0" and not rule["IsEgress"]}
    assert open_groups == {group["GroupId"] for group in groups}, "the site is public, and the bastion restored"


def test_the_command_prints_its_version(installed):
    """`c7n-ingress --version` prints the installed version."""
    assert installed("c7n-ingress --version").stdout == f"c7n-ingress {version_in_pyproject}\n"


def test_nothing_called_mode_is_installed(installed):
    """Outside of the folder that `init` wrote, `import mode` finds nothing of the pack."""
    result = installed("python -c 'import mode'", installed.folder.parent)
    assert "No module named 'mode'" in result.stderr


def test_the_changelog():
    """What is not released yet is first, then each release with its day, newest first, none newer than the pack."""
    first, *released = re.findall(r"^## \[(.+?)\](?: - (.+))?$", CHANGELOG, re.MULTILINE)
    assert first == ("Unreleased", "")
    versions = [Version(version) for version, _ in released]
    days = [date.fromisoformat(day) for _, day in released]
    assert versions == sorted(versions, reverse=True)
    assert days == sorted(days, reverse=True)
    assert all(version <= Version(version_in_pyproject) for version in versions)
    kinds = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
