import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from c7n.utils import yaml_load

from tests.support.embedded import ROOT

SCRIPTS = Path(sys.executable).parent
TERRAFORM = 'resource "aws_security_group_rule" "r" {\n  type = "ingress"\n  cidr_blocks = ["%s"]\n}\n'
HOOKS = {hook["id"]: hook for hook in yaml_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


def run(*command, folder, **environment):
    """Run a command, with those that are installed for the tests before all others."""
    path = os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])
    environment = os.environ | {"PATH": path} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def commit(folder):
    """Make a repository of a folder, and return its commit."""
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    for command in (["init", "--quiet"], ["add", "--all"], [*somebody, "commit", "--quiet", "--message", "all"]):
        done = run("git", *command, folder=folder)
        assert done.returncode == 0, done.stderr
    return run("git", "rev-parse", "HEAD", folder=folder).stdout.strip()


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """Make somebody's repository with the pack's hooks; return it, and where pre-commit keeps what it installs."""
    top = tmp_path_factory.mktemp("hooks")
    pack = shutil.copytree(
        ROOT,
        top / "pack",
        ignore=shutil.ignore_patterns(".git", ".venv", ".local", ".hypothesis", ".*_cache", "__pycache__"),
    )
    hooks = {"repo": str(pack), "rev": commit(pack), "hooks": [{"id": name} for name in HOOKS]}
    mine = top / "mine"
    assert run("c7n-ingress", "init", str(mine), folder=top).returncode == 0
    (mine / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [hooks]}))
    commit(mine)
    return mine, str(top / "pre-commit")


@pytest.mark.soak
@pytest.mark.parametrize(
    ("hook", "file", "text", "says"),
    [
        ("custodian-validate", "policies/open-ingress.yml", "type: replace-ingress", None),
        ("custodian-validate", "policies/open-ingress.yml", "type: replace-ingres", "replace-ingres"),
        ("c7n-left", "main.tf", TERRAFORM % "198.18.7.0/24", None),
        ("c7n-left", "main.tf", TERRAFORM % "0.0.0.0/0", "name the networks that need the port"),
    ],
    ids=["a policy", "a misspelt policy", "closed Terraform", "open Terraform"],
)
def test_hook(hooked, hook, file, text, says):
    """The real pre-commit installs the hook from the pack, lets pass what is well, and stops what is not."""
    repository, home = hooked
    path = repository / file
    policy = (ROOT / file).read_text() if hook == "custodian-validate" else None
    path.write_text(re.sub("type: replace-ingress$", text, policy, flags=re.MULTILINE) + "# mine\n" if policy else text)
    assert run("git", "add", "--all", folder=repository).returncode == 0

    result = run("pre-commit", "run", hook, folder=repository, PRE_COMMIT_HOME=home, COLUMNS="200")

    assert result.returncode == (1 if says else 0), result.stdout + result.stderr
    assert ("Failed" if says else "Passed") in result.stdout
    assert (says or "") in result.stdout


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("policies/mine.yml", "custodian-validate"),
        ("policies/mine.yaml", "custodian-validate"),
        ("policies/terraform/open-ingress.yml", None),
        ("mode/stack.yml", None),
        ("modules/web/main.tf", "c7n-left"),
        ("prod.tfvars", "c7n-left"),
        ("main.tf.json", "c7n-left"),
    ],
)
def test_which_files_a_hook_looks_at(path, wanted):
    """Policies are validated, Terraform is judged, and each is left alone by the other's hook."""
    assert [name for name, hook in HOOKS.items() if re.search(hook["files"], path)] == ([wanted] if wanted else [])
