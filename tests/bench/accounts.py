"""c7n-org over more and more accounts, and what an organization would cost."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import yaml
from moto.sqs.models import sqs_backends

from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.bench.commands import Finished, sweep_policy, timed
from tests.bench.groups import groups
from tests.bench.table import CONSOLE, Row
from tests.support.throttling import BUCKETS

C7N_ORG = Path(sys.executable).with_name("c7n-org")
SIZES = (1, 10, 100)
GROUPS, ONE_IN = 50, 50  # groups an account, of which one is open
ORGANIZATION, REGIONS = 1000, 15


def measure(cloud: Cloud) -> list[Row]:
    """Sweep one account, then more, and say what an organization would cost."""
    runs = {size: swept(cloud, size) for size in SIZES}
    _, most = runs[SIZES[-1]]
    CONSOLE.print(sentence(sum(most.values()) / SIZES[-1]))
    return [row(size, runs) for size in SIZES]


def swept(cloud: Cloud, size: int) -> tuple[Finished, Counter[str]]:
    """Sweep so many accounts with c7n-org; return the run, and its calls."""
    cloud.reset()
    ids = [f"{200_000_000_000 + number}" for number in range(size)]
    for each in ids:
        sqs_backends[each]["us-east-1"].create_queue("custodian-mailer", {})
        load_groups(shape | {"OwnerId": each} for shape in groups(GROUPS, ONE_IN))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = (C7N_ORG, "run", "-c", accounts_file(folder, ids), "-u", sweep_policy(folder), "-s", folder / "out")
        run = timed(cloud, *command, "--cache-path", folder, "--cache-period", "0", log=folder / "org.log")
    assert run.returncode == 0, run.log
    calls = Counter(call.action for call in cloud.calls)
    assert calls["ModifySecurityGroupRules"] == size, run.log
    return run, calls


def accounts_file(folder: Path, ids: list[str]) -> Path:
    """Write c7n-org's list of accounts."""
    accounts = [
        {"name": each, "account_id": each, "role": "custodian-open-ingress", "regions": ["us-east-1"]} for each in ids
    ]
    path = folder / "accounts.yml"
    path.write_text(yaml.safe_dump({"accounts": accounts}))
    return path


def row(size: int, runs: dict[int, tuple[Finished, Counter[str]]]) -> Row:
    """Return how much longer one account takes among so many; the calls are the same for each."""
    run, calls = runs[size]
    first, _ = runs[SIZES[0]]
    reported = ", ".join(f"{number / size:g} {name}" for name, number in sorted(calls.items()))
    figures = f"{run.seconds:.1f} s, {run.seconds / size:.2f} an account; calls an account: {reported}"
    return Row(f"{size} accounts: seconds an account", "1 account", 1.1, run.seconds / size / first.seconds, figures)


def sentence(calls: float) -> str:
    """Say what an organization costs at most: buckets are for each account and region, so none waits for another."""
    bucket, sweeps = BUCKETS[""], ORGANIZATION * REGIONS
    return (
        f"{ORGANIZATION} accounts in {REGIONS} regions are {sweeps:,} sweeps of about {calls:.0f} calls. "
        f"Each has token buckets of its own, so that in each region {bucket.size} open groups are closed at once and "
        f"{bucket.refill * 60} a minute after that, whatever the others do."
    )
