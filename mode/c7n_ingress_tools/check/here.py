"""What can be checked without AWS: the versions that are installed, the settings, and the policies with them filled."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import boto3
from c7n.version import version as c7n_version

from c7n_ingress.aws.settings import refuse_twice
from c7n_ingress.decide.authorized import documentation, parse_fixed
from c7n_ingress.decide.settings import DEFAULTS, KEYS, OPTIONAL, check
from c7n_ingress_tools import policies
from c7n_ingress_tools.accounts import ALL, accounts, regions_of
from c7n_ingress_tools.check.facts import Fact, ok, wrong
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.pack import PACK
from c7n_ingress_tools.settings import read

ANY_ACCOUNT, ANY_REGION = "123456789012", "us-east-1"


class Files(NamedTuple):
    """The user's files."""

    settings: Path
    policies: tuple[Path, ...]
    stack: Path
    accounts: Path
    """c7n-org's, if it is there."""


def files(settings: Path) -> Files:
    """Return the files beside the settings; those of the installed pack, where there is no folder ``policies``."""
    root = settings.parent if (settings.parent / "policies").is_dir() else PACK
    watch = root / "mode" / "watch.yml"
    policies = [
        path for folder in ("policies", "policies/security-hub") for path in sorted((root / folder).glob("*.yml"))
    ]
    return Files(settings, (*policies, watch), root / "mode" / "stack.yml", settings.parent / "accounts.yml")


class Own(NamedTuple):
    """What c7n-org's file says of an account."""

    account: str
    """What c7n-org's `-a` takes for it: its id, or its name if several accounts in the file have this id."""
    settings: dict[str, Any]
    """Its vars. c7n-org fills the policies with them alone, and does not read settings.yml."""


def own_of(files: Files, account: str, region: str) -> Own | None:
    """Return what c7n-org's file says of an account, if it is there: of several, the one in whose regions this one is.

    :raises CommandError: the file is none of c7n-org's, or no run can use its vars.
    """
    listed = accounts(files.accounts) if files.accounts.exists() else []
    found = [each for each in listed if each["account_id"] == account]
    if not found:
        return None
    first = next((each for each in found if {ALL, region} & {*regions_of(each)}), found[0])
    given = {key: value for key, value in first["vars"].items() if key in KEYS}
    try:
        refuse_twice(files.accounts.read_bytes())
        check({key: value for key, value in given.items() if value is not None or key not in OPTIONAL})
    except ValueError as error:
        raise CommandError(f"{files.accounts}: account {account}: {error}") from error
    return Own(account if len(found) == 1 else first["name"], first["vars"])


class Wanted(NamedTuple):
    """A policy of the user's files, filled for an account and region, that can be deployed."""

    policy: Any
    file: Path


class Local(NamedTuple):
    """What the user's files say for an account and region."""

    files: Files
    region: str
    networks: list[str]
    """The authorized networks."""
    wanted: Mapping[str, list[Wanted]]
    """The policies that are valid and can be deployed, by their functions: several if somebody extended a copy."""
    facts: list[Fact]
    queue: str = DEFAULTS["queue"]
    """The queue to which the policies send their messages: its name, ARN or URL."""
    account: str = ""
    """What c7n-org's `-a` takes for the account, if c7n-org deploys there."""

    def deploy(self, file: Path | str, policy: str = "") -> str:
        """Return the command that deploys a file, or one of its policies."""
        words = f"-s out {f'-p {policy} ' if policy else ''}"
        if self.account:
            return f"c7n-org run -c {self.files.accounts} -a {quote(self.account)} -r {self.region} {words}-u {file}"
        return f"custodian run --region {self.region} --vars-file settings.yml {words}{file}"


def load(files: Files, account: str = ANY_ACCOUNT, region: str = ANY_REGION, own: Own | None = None) -> Local:
    """Load settings and policies. Those that are wrong are facts, and left out.

    :param own: what c7n-org's file says of the account, if it is there. Its vars count instead of the settings.
    """
    wanted: dict[str, list[Wanted]] = {}
    facts, settings = [versions()], {}
    try:
        settings = read(files.settings, complete=True)
        facts.append(ok("settings", f"{files.settings} is valid"))
    except CommandError as error:
        facts.append(wrong("settings", str(error), "edit it. If there is none, `c7n-ingress init .` writes one"))
    if own:
        settings = own.settings
    for path in files.policies:
        try:
            found = policies.load(path, settings, account, region)
        except (OSError, ValueError) as error:
            facts.append(wrong(str(path), str(error), "fix what the line names, or run `c7n-ingress init .`"))
            continue
        for policy in found:
            if "mode" in policy.data:
                name = policy.data["mode"].get("function-prefix", "custodian-") + policy.name
                wanted.setdefault(name, []).append(Wanted(policy, path))
        facts.append(ok(str(path), "valid with these settings"))
    networks = settings.get("authorized", [])
    if settings:
        facts.append(no_documentation(networks))
    queue = settings.get("queue", DEFAULTS["queue"]).replace("{account_id}", account)
    return Local(files, region, networks, wanted, facts, queue, own.account if own else "")


def owner_and_name(queue: str, account: str) -> tuple[str, str]:
    """Return the account of a queue, and the queue's name.

    :param queue: its name, ARN or URL.
    :param account: the account of a queue that only its name identifies.
    """
    _, owner, name = ["", account, *re.split("[:/]", queue)][-3:]
    return owner, name


def versions() -> Fact:
    """Return what is installed. With another c7n, no policy loads: see `refuse_unsupported`."""
    found = {"Python": platform.python_version(), "c7n-ingress": metadata.version("c7n-ingress")}
    found |= {"c7n": c7n_version, "boto3": boto3.__version__}
    return ok("versions", ", ".join(f"{name} {version}" for name, version in found.items()))


def no_documentation(networks: list[str]) -> Fact:
    """Whether no authorized network is an example from the documentation."""
    name = "authorized networks"
    if examples := documentation(parse_fixed(networks)) if networks else []:
        said = f"{', '.join(map(str, examples))} are examples from the documentation, and every run refuses them"
        return wrong(name, said, "write your own networks as `authorized` in settings.yml")
    return ok(name, ", ".join(networks) or "read from another place at run time")
