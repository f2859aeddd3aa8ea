"""A sweep of one region, against stock c7n that only removes what is open, and against itself on more groups."""

from __future__ import annotations

import tempfile
from math import ceil
from pathlib import Path
from typing import NamedTuple

from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.bench.commands import custodian_run, stock_policy, sweep_policy
from tests.bench.groups import groups
from tests.bench.table import Row, count
from tests.support.embedded import MUTATING, make_queue

SIZES = (5_000, 10_000, 20_000)
ONE_IN = 10
ROUNDS = 3


class Sweep(NamedTuple):
    """What a sweep took, and how many calls that read and that changed rules it made."""

    seconds: float
    mebibytes: float
    describes: int
    changes: int

    def __str__(self) -> str:
        """Say time and memory."""
        return f"{self.seconds:.1f} s, {self.mebibytes:.0f} MiB"


def measure(cloud: Cloud) -> list[Row]:
    """Sweep an account that grows, by both."""
    with tempfile.TemporaryDirectory() as temporary:
        policy = sweep_policy(Path(temporary))
        stock = stock_policy(policy)
        rounds = [[swept(cloud, each, SIZES[0]) for each in (policy, stock)] for _ in range(ROUNDS)]
        ours, theirs = (sorted(sweeps)[ROUNDS // 2] for sweeps in zip(*rounds, strict=True))
        larger = [growth(size, swept(cloud, policy, size), ours) for size in SIZES[1:]]
    opened = SIZES[0] // ONE_IN
    what = f"sweep of {SIZES[0]} groups, 1 in {ONE_IN} open, with notify"
    beyond = ours.describes - theirs.describes
    return [
        Row(what, "c7n's remove-permissions", 1.1, ours.seconds / theirs.seconds, f"{ours} : {theirs}"),
        count("its describe calls beyond c7n's own", 2 * ceil(opened / 200), beyond, f"{opened} open groups"),
        count("its mutating calls for each open group", 1, ours.changes / opened),
        *larger,
    ]


def swept(cloud: Cloud, policy: Path, size: int) -> Sweep:
    """Run a policy on an account with so many groups, of which it closes all that are open."""
    cloud.reset()
    make_queue(cloud)
    load_groups(groups(size, ONE_IN))
    run = custodian_run(cloud, policy)
    assert run.returncode == 0, run.log
    describes = sum(call.service == "ec2" and call.action.startswith("Describe") for call in cloud.calls)
    changes = sum(call.action in MUTATING for call in cloud.calls)
    return Sweep(run.seconds, run.mebibytes, describes, changes)


def growth(size: int, sweep: Sweep, first: Sweep) -> Row:
    """Return how much more time and memory more groups take, for each group; linear is 1."""
    times = size / SIZES[0]
    slower = sweep.seconds / first.seconds / times
    seen = f"{sweep}: {sweep.mebibytes / first.mebibytes / times:.2f} of the memory"
    return Row(f"{size} groups: seconds a group", f"{SIZES[0]} groups", 1.1, slower, seen)
