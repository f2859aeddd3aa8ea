"""The stock commands, timed, with the most memory that they took."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from c7n.utils import yaml_load

from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.support.embedded import CUSTODIAN, ROOT, filled

STOCK = [
    {"type": "ingress", "Cidr": {"op": "regex", "value": ".*/[0-7]$"}},
    {"type": "ingress", "CidrV6": {"op": "regex", "value": r".*/(\d|1[0-5])$"}},
]
"""What c7n's own filters can say of what is open."""
AUTHORIZED = ["198.18.7.0/24", "2001:2:0:7::/64"]


@dataclass
class Finished:
    """A command that has ended."""

    returncode: int
    seconds: float
    mebibytes: float
    log: str


def timed(cloud: Cloud, *arguments: object, log: Path, **environment: str) -> Finished:
    """Run a command against the embedded AWS until it ends."""
    cloud.calls.clear()
    start = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            env=cloud.environment() | environment,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return Finished(process.returncode, seconds, usage.ru_maxrss / 1024, log.read_text())


def custodian_run(cloud: Cloud, policy: Path, **environment: str) -> Finished:
    """Run a policy with `custodian run`, without its cache."""
    arguments = ("run", "--region", "us-east-1", "--cache-period", "0", "-s", policy.parent, policy)
    return timed(cloud, CUSTODIAN, *arguments, log=policy.with_suffix(".log"), **environment)


def plain(policy: str, folder: Path, **more: object) -> Path:
    """Write a policy of the pack with a user's settings, which looks up nothing for its messages.

    What it is compared with looks up nothing, either, and authorizes no VPC.
    """
    return written(policy, folder, ("behind", "reopened"), **more)


def written(policy: str, folder: Path, without: Iterable[str] = (), **more: object) -> Path:
    """Write a policy of the pack with a user's settings, without some keys of its action."""
    data = filled(policy, AUTHORIZED, **more)
    for key in without:
        data["actions"][0].pop(key, None)
    path = folder / f"{policy}.yml"
    path.write_text(yaml.safe_dump({"policies": [data]}, sort_keys=False))
    return path


def sweep_policy(folder: Path, **more: object) -> Path:
    """Write open-ingress-sweep with the highest `at-most`, as a user does who has looked."""
    return plain("open-ingress-sweep", folder, at_most=100_000, **more)


def stock_policy(path: Path) -> Path:
    """Write the same policy as c7n alone can run it: c7n's filters and action instead of the pack's own."""
    data = yaml_load(path.read_text())
    (policy,) = data["policies"]
    policy["name"] = "stock"
    for key in ("packages", "handler"):
        policy.get("mode", {}).pop(key, None)
    policy.pop("source")
    policy["filters"] = [{"or": STOCK}]
    policy["actions"] = [{"type": "remove-permissions", "ingress": "matched"}]
    stock = path.with_name("stock.yml")
    stock.write_text(yaml.safe_dump({"policies": [policy]}))
    return stock
