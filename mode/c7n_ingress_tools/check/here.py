"""What can be checked without AWS: the versions that are installed, the settings, and the policies with them filled."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import c7n.policy
from botocore.loaders import create_loader
from c7n.config import Config
from c7n.exceptions import PolicyValidationError
from c7n.version import version as c7n_version

from c7n_ingress.autoload import SUPPORTED, figures
from c7n_ingress.decide.authorized import documentation, parse_fixed
from c7n_ingress_tools.check.facts import Fact, ok, wrong
from c7n_ingress_tools.check.functions import Wanted
from c7n_ingress_tools.pack import PACK
from c7n_ingress_tools.settings import SettingsError, read

NEEDED = ("ModifySecurityGroupRules", "DescribeSecurityGroupVpcAssociations")
"""EC2's calls that an old boto3 does not know, and without which a group is not closed, or clients are blocked."""

ANY_ACCOUNT, ANY_REGION = "123456789012", "us-east-1"
REPLACE = "replace-ingress"


class Files(NamedTuple):
    """The user's files."""

    settings: Path
    policies: tuple[Path, ...]
    """The policies' files, the watch's among them."""
    watch: Path
    stack: Path


def files(settings: Path) -> Files:
    """Return the files beside the settings; those of the installed pack, where there is no folder ``policies``."""
    root = settings.parent if (settings.parent / "policies").is_dir() else PACK
    watch = root / "mode" / "watch.yml"
    return Files(settings, (*sorted((root / "policies").glob("*.yml")), watch), watch, root / "mode" / "stack.yml")


class Local(NamedTuple):
    """What the user's files say for an account and region."""

    files: Files
    networks: list[str]
    """The authorized networks."""
    wanted: Mapping[str, Wanted]
    """The policies that are valid and can be deployed, by their functions."""
    facts: list[Fact]


def load(files: Files, account: str = ANY_ACCOUNT, region: str = ANY_REGION) -> Local:
    """Load settings and policies. Those that are wrong are facts, and left out."""
    facts, settings, loaded = [versions()], {}, []
    try:
        settings = read(files.settings, complete=True)
        facts.append(ok("settings", f"{files.settings} is valid"))
    except SettingsError as error:
        facts.append(wrong("settings", str(error), "edit it. If there is none, `c7n-ingress init .` writes one"))
    for path in files.policies:
        try:
            found = policies(path, settings, account, region)
        except (OSError, ValueError) as error:
            facts.append(wrong(str(path), str(error), "fix what the line names, or run `c7n-ingress init .`"))
            continue
        loaded += [Wanted(policy.data, path) for policy in found]
        number = f"{len(found)} {'policy' if len(found) == 1 else 'policies'}"
        facts.append(ok(str(path), f"{number}, valid with these settings"))
    lists = [settings.get("authorized", []), *(authorized(policy.data) for policy in loaded)]
    facts.append(no_documentation([network for each in lists for network in each]))
    deployable = {policy.function: policy for policy in loaded if "mode" in policy.data}
    return Local(files, next(filter(None, lists[1:]), []), deployable, facts)


def policies(path: Path, settings: Mapping[str, Any], account: str, region: str) -> list[Any]:
    """Load the policies of a file as `custodian run --vars-file` does, and validate them once they are filled.

    :raises ValueError: says what is wrong with them.
    """
    options = Config.empty(account_id=account, region=region, regions=[region], cache=None, cache_period=0)
    try:
        loaded = list(c7n.policy.load(options, str(path)) or ())
        for policy in loaded:
            policy.expand_variables(policy.get_variables(dict(settings)))
            policy.validate()
    except Exception as error:  # whatever c7n and its YAML parser raise
        kept = str(error).splitlines() if isinstance(error, PolicyValidationError) else [str(error)]
        raise ValueError(" ".join(" ".join(kept).split())) from error
    return loaded


def versions() -> Fact:
    """Whether what is installed works together."""
    found = {"Python": platform.python_version(), "c7n-ingress": metadata.version("c7n-ingress")}
    found |= {"c7n": c7n_version, "boto3": boto3.__version__}
    said = ", ".join(f"{name} {version}" for name, version in found.items())
    oldest, too_new = map(figures, SUPPORTED)
    if not oldest <= figures(c7n_version) < too_new:
        return wrong("versions", said, f"pip install 'c7n>={SUPPORTED[0]},<{SUPPORTED[1]}'")
    known = create_loader().load_service_model("ec2", "service-2")["operations"]
    if missing := [call for call in NEEDED if call not in known]:
        return wrong("versions", f"{said}, which does not know {', '.join(missing)}", "pip install --upgrade boto3")
    return ok("versions", said)


def authorized(policy: Mapping[str, Any]) -> list[str]:
    """Return the authorized networks of a policy that is filled, where it has them in a list."""
    actions = [each for each in policy.get("actions", ()) if isinstance(each, dict) and each["type"] == REPLACE]
    lists = [each["authorized"] for each in actions if isinstance(each.get("authorized"), list)]
    return [network for each in lists for network in each]


def no_documentation(networks: list[str]) -> Fact:
    """Whether no authorized network is an example from the documentation."""
    name = "authorized networks"
    wanted = list(dict.fromkeys(networks))
    try:
        examples = documentation(parse_fixed(wanted)) if wanted else []
    except ValueError as error:
        return wrong(name, str(error), "correct it in settings.yml")
    if examples:
        said = f"{', '.join(map(str, examples))} are examples from the documentation, and every run refuses them"
        return wrong(name, said, "write your own networks as `authorized` in settings.yml")
    return ok(name, ", ".join(wanted) or "read from another place at run time")
