"""The pages followed: their commands as they are written there, in a copy of the pack, on the embedded AWS."""

import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import yaml

from tests.support import forked
from tests.support.docs import blocks, commands
from tests.support.embedded import ROOT
from tests.support.kept import once
from tests.support.stacked import TEMPLATE, create, stop_polling

DEPLOY = "custodian run --region us-east-1 --vars-file settings.yml -s out"
"""How the pages run policies."""

NETWORKS = ["198.18.7.0/24", "2001:2:0:7::/64"]


def stack_of(command):
    """Return region and parameters of a command that makes a stack."""
    parser = ArgumentParser()
    parser.add_argument("--region")
    parser.add_argument("--stack-name")
    parser.add_argument("--template-file", type=Path)
    parser.add_argument("--capabilities")
    parser.add_argument("--parameter-overrides", nargs="+")
    options = parser.parse_args(shlex.split(command)[3:])
    assert ROOT / options.template_file == TEMPLATE
    assert (options.stack_name, options.capabilities) == ("open-ingress", "CAPABILITY_NAMED_IAM")
    return options.region, dict(text.split("=") for text in options.parameter_overrides)


def copied(folder):
    """Copy the pack, with the user's networks in settings.yml, and return its folder."""
    copy = folder / "copy"
    for part in ("mode", "policies"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "settings.yml").write_text(yaml.safe_dump({"authorized": NETWORKS}))
    return copy


def deployed_pack(cloud, folder):
    """Deploy a copy of the pack to the empty AWS as docs/deploy.md says, once for all tests, and return its folder."""
    copy = copied(folder)

    def deploy():
        for block in blocks("docs/deploy.md", "Steps"):
            follow(cloud, copy, block)
        stop_polling(cloud)

    once(cloud, "docs/deploy.md", deploy)
    return copy


def follow(cloud, copy, block):
    """Type a block's commands, and return what they print.

    A stack is made by `create`: moto's CloudFormation does not know all types of resources. That the tools
    are installed is taken as read.
    """
    printed = ""
    for command in commands(block):
        if command.startswith("aws cloudformation deploy"):
            region, parameters = stack_of(command)
            create(cloud, region, **parameters)
        elif not command.startswith(("python3 -m venv", "pip install")):
            printed += typed(cloud, copy, command)
    return printed


def typed(cloud, copy, command):
    """Type one command, and return what it prints. It must not fail."""
    done = attempted(cloud, copy, command)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def attempted(cloud, copy, command):
    """Type one command, and return the finished process."""
    environment = cloud.environment() | {"PATH": f"{forked.commands()}:{Path(sys.executable).parent}:/usr/bin:/bin"}
    # Of all services, `aws sqs` asks the environment for no endpoint, and would go to AWS itself.
    script = f'aws() {{ command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }}\n{command}'
    return subprocess.run(
        ["/bin/bash", "-c", script], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
