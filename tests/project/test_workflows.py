import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from c7n.utils import yaml_load

from tests.support.embedded import ROOT, group_of
from tests.support.forked import commands

SCRIPTS = Path(sys.executable).parent
SAMPLE = ROOT / "mode" / "pull-request.yml"
DEPLOY = ROOT / "mode" / "deploy-workflow.yml"
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), SAMPLE, DEPLOY]
NETWORKS = ["198.18.8.0/24", "2001:2:0:8::/64"]
GROUPS = [
    group_of({"name": "bastion", "ingress": [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}]}, 1),
    group_of({"name": "office", "ingress": [{"protocol": "tcp", "ports": 22, "source": "10.0.0.0/8"}]}, 2),
]

GH = """#!/usr/bin/env python3
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if "--paginate" in sys.argv:
    print((here / "found").read_text(), end="")
"""
"""GitHub's command, as far as the sample needs it: it notes how it was called, and finds what is there."""

workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def run(*command, folder=ROOT, **environment):
    """Run a command, with those that are installed for the tests before all others."""
    path = os.pathsep.join([*environment.pop("first", []), str(commands()), str(SCRIPTS), os.environ["PATH"]])
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def read(path):
    """Read a workflow. YAML takes its key `on` for true."""
    return yaml_load(path.read_text())


@pytest.mark.parametrize("failing", ["c7n-org", "c7n-ingress"])
def test_a_check_that_fails_fails_the_deployment(tmp_path, failing):
    """Each step that checks accounts fails if an account was not checked, and if a check found something wrong."""
    for name in ("c7n-org", "c7n-ingress"):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\necho {name}\nexit {int(name == failing)}\n")
        command.chmod(0o755)
    checks = [step["run"] for step in steps(DEPLOY) if "--of" in step.get("run", "")]
    assert len(checks) == 2
    for script in checks:
        shell = ["bash", "-eo", "pipefail", "-c", script]
        done = run(*shell, folder=tmp_path, first=[str(tmp_path)], GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
        assert (done.returncode, done.stdout) == (1, "c7n-org\nc7n-ingress\n")


def steps(path):
    """Return the steps of all jobs of a workflow."""
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def script(path, name):
    """Return the script of the step that has a name."""
    (found,) = [step["run"] for step in steps(path) if step.get("name", "").startswith(name)]
    return found


@workflows
def test_lint(path):
    """The checks of actionlint, and those of each step's shell script, find nothing."""
    result = run("jactionlint", "--no-color", path)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr
    assert "shellcheck was not found" not in result.stderr


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zizmor is not packaged for Python 3.10")
def test_security():
    """Zizmor finds no way for a stranger into the workflows, no credential that stays, no permission too many."""
    result = run("zizmor", "--offline", "--quiet", "--no-exit-codes", "--format", "json", *WORKFLOWS)
    assert json.loads(result.stdout) == [], result.stdout + result.stderr


@workflows
def test_actions_are_pinned(path):
    """Each action is named by a commit, with its version beside it, and nothing is allowed that no job asks for."""
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action, _ in used)
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", version) for _, version in used)
    assert set((read(path)["permissions"] or {"contents": "read"}).values()) == {"read"}


def test_each_action_has_one_version():
    """An action is used at one version everywhere."""
    used = {use for path in WORKFLOWS for use in re.findall(r"uses: (\S+)", path.read_text())}
    assert len({use.partition("@")[0] for use in used}) == len(used)


def test_every_python_that_is_promised_is_tested():
    """The pythons of ci.yml are those of pyproject.toml, and what runs there is the README's own command."""
    (job,) = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"].values()
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == promised
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]


@pytest.mark.parametrize(
    ("tag", "changelog", "says"),
    [
        ("v1.2.3", "## [1.2.3] - 2026-12-24", None),
        (
            "v1.2.4",
            "## [1.2.3] - 2026-12-24",
            "::error file=pyproject.toml::the tag is v1.2.4, and the version is 1.2.3",
        ),
        ("v1.2.3", "## [Unreleased]", "::error file=CHANGELOG.md::there is no section '## [1.2.3] - YYYY-MM-DD'"),
        ("v1.2.3", "## [1x2.3] - 2026-12-24", "::error file=CHANGELOG.md"),
    ],
)
def test_a_release_needs_one_version_everywhere(tmp_path, tag, changelog, says):
    """A tag that does not fit version and changelog stops the release, and says which file."""
    project = re.sub(
        r'^version = ".+"$', 'version = "1.2.3"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE
    )
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}\n")
    check = script(ROOT / ".github" / "workflows" / "release.yml", "The tag")
    result = run("bash", "-e", "-c", check, folder=tmp_path, GITHUB_REF_NAME=tag)
    assert result.returncode == (1 if says else 0), result.stderr
    assert (says or "") in result.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Make a user's repository of policies: what `c7n-ingress init` writes, the user's networks, an export."""
    folder = tmp_path_factory.mktemp("policies")
    assert run("c7n-ingress", "init", folder).returncode == 0
    (folder / "settings.yml").write_text(yaml.safe_dump({"authorized": NETWORKS}))
    (folder / "groups.json").write_text(json.dumps({"SecurityGroups": GROUPS}))
    workflow = folder / ".github" / "workflows" / "policies.yml"
    workflow.parent.mkdir(parents=True)
    shutil.copy(SAMPLE, workflow)
    for command in ("init --quiet", "add --all"):
        assert run("git", *command.split(), folder=folder).returncode == 0
    commit(folder)
    return folder


def commit(folder):
    """Commit everything, and return the commit before."""
    before = run("git", "rev-parse", "--quiet", "--verify", "HEAD", folder=folder).stdout.strip()
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    done = run("git", *somebody, "commit", "--quiet", "--all", "--message", "a change", folder=folder)
    assert done.returncode == 0, done.stderr
    return before


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("open-ingress", ("severity: high", "severity: low"), 0),
        ("open-ingress", ("type: replace-ingress", "type: replace-ingres"), 1),
        ("terraform/open-ingress", ("severity: high", "severity: low"), 0),
    ],
    ids=["well", "misspelt", "another tool's"],
)
def test_the_sample_validates_what_changed(repository, tmp_path, name, change, code):
    """The policies that a pull request changes are validated, others are not, and an error ends the run."""
    folder = shutil.copytree(repository, tmp_path / "copy")
    (folder / "policies" / "restore-ingress.yml").write_text("policies: [{broken}]")
    commit(folder)  # what was wrong before is not part of this pull request
    path = folder / "policies" / f"{name}.yml"
    path.write_text(path.read_text().replace(*change))
    base = commit(folder)
    result = run("bash", "-eo", "pipefail", "-c", script(SAMPLE, "Validate"), folder=folder, BASE=base)
    assert bool(result.returncode) is bool(code), result.stderr
    assert ("Configuration valid" in result.stderr) is (code == 0 and "/" not in name)


def test_the_sample_shows_before_and_after(repository, tmp_path):
    """The comment shows each rule that would change with one's own networks, as text in which nothing is run."""
    result = run(
        *("bash", "-eo", "pipefail", "-c", script(SAMPLE, "Rehearse")),
        folder=repository,
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary"),
    )
    comment = (repository / "comment.md").read_text()
    assert result.returncode == 0, comment
    assert (tmp_path / "summary").read_text() == comment
    title, empty, *lines = comment.splitlines()
    assert title.startswith("### What open-ingress would do")
    assert empty == ""
    assert all(line.startswith("    ") for line in lines)
    assert "Authorized networks: 198.18.8.0/24, 2001:2:0:8::/64\n" in comment
    assert re.search(r"bastion +TCP 22 \(SSH\) +closed", comment)
    assert re.search(r"0\.0\.0\.0/0 → 198\.18\.8\.0/24", comment)
    assert not re.search(r"office +TCP", comment)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("", ["api", "--method", "POST", "repos/me/it/issues/7/comments"]),
        ("https://api/1\nhttps://api/2\n", ["api", "--method", "PATCH", "https://api/1"]),
    ],
    ids=["first", "again"],
)
def test_the_sample_comments_once(tmp_path, found, wanted):
    """The first run comments, and each further one renews that comment."""
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    (gh.parent / "found").write_text(found)
    (tmp_path / "comment.md").write_text("### Title\n\n    text\n")
    result = run(
        *("bash", "-eo", "pipefail", "-c", script(SAMPLE, "Comment")),
        folder=tmp_path,
        first=[str(gh.parent)],
        COMMENTS="repos/me/it/issues/7/comments",
    )
    assert result.returncode == 0, result.stderr
    looked, done = map(json.loads, (gh.parent / "calls.jsonl").read_text().splitlines())
    assert looked[:3] == ["api", "--paginate", "repos/me/it/issues/7/comments"]
    assert done == [*wanted, "--field", "body=@comment.md"]
