"""A sweep of one region, against stock c7n that only removes what is open, and against itself on more groups."""

from __future__ import annotations

import tempfile
from math import ceil
from pathlib import Path

from mode.local.ec2 import load_groups
from mode.local.server import Cloud
from tests.bench.commands import Finished, custodian_run, stock_policy, sweep_policy
from tests.bench.groups import groups
from tests.bench.table import Row, count
from tests.embedded import MUTATING, make_queue

SIZES = (5_000, 10_000, 20_000)
ONE_IN = 10


def measure(cloud: Cloud) -> list[Row]:
    """Sweep an account that grows, by both."""
    with tempfile.TemporaryDirectory() as temporary:
        ours = sweep_policy(Path(temporary))
        stock = stock_policy(ours)
        theirs, described = swept(cloud, stock, SIZES[0]), describes(cloud)
        runs = [swept(cloud, ours, SIZES[0])]
        more, changed = describes(cloud) - described, sum(call.action in MUTATING for call in cloud.calls)
        runs += [swept(cloud, ours, size) for size in SIZES[1:]]
    opened = SIZES[0] // ONE_IN
    return [
        Row(
            f"sweep of {SIZES[0]} groups, 1 in {ONE_IN} open, with notify",
            "c7n's remove-permissions",
            1.0,
            runs[0].seconds / theirs.seconds,
            f"{figures(runs[0])} : {figures(theirs)}",
        ),
        count("its describe calls beyond c7n's own", 2 * ceil(opened / 200), more, f"{opened} open groups"),
        count("its mutating calls for each open group", 1, changed / opened),
        *(growth(size, run, runs[0]) for size, run in zip(SIZES[1:], runs[1:], strict=True)),
    ]


def swept(cloud: Cloud, policy: Path, size: int) -> Finished:
    """Run a policy on an account with so many groups, of which it closes all that are open."""
    cloud.reset()
    make_queue(cloud)
    load_groups(groups(size, ONE_IN))
    run = custodian_run(cloud, policy)
    assert run.returncode == 0, run.log
    return run


def describes(cloud: Cloud) -> int:
    """Count the calls to EC2 that read."""
    return sum(call.service == "ec2" and call.action.startswith("Describe") for call in cloud.calls)


def growth(size: int, run: Finished, first: Finished) -> Row:
    """Give how much more time and memory more groups take, for each group; linear is 1."""
    times = size / SIZES[0]
    seen = f"{figures(run)}: {run.mebibytes / first.mebibytes / times:.2f} of the memory"
    return Row(f"{size} groups: seconds a group", f"{SIZES[0]} groups", 1.1, run.seconds / first.seconds / times, seen)


def figures(run: Finished) -> str:
    """Give time and memory of a run."""
    return f"{run.seconds:.1f} s, {run.mebibytes:.0f} MiB"
