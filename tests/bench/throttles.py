"""What EC2 allows: a sweep, and many events at once, with the token buckets that EC2 has for each API."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from c7n_ingress_tools.embedded_aws.server import Cloud
from c7n_ingress_tools.functions.runtime import Function, FunctionError, deployed
from tests.bench import recipe
from tests.bench.commands import custodian_run, sweep_policy
from tests.bench.functions import OURS, RECIPE, deploy
from tests.bench.groups import group
from tests.bench.table import Row, count
from tests.support import throttling
from tests.support.embedded import make_queue
from tests.support.throttling import Throttling

SWEPT = 2_000
SPEED = 2
"""How many times as fast EC2's clock runs. The processor does not, so what a sweep computes counts as many times."""
EVENTS, PROCESSES = 500, 50
FASTER = Path(__file__).with_name("faster")


def measure(cloud: Cloud) -> list[Row]:
    """Sweep, then deliver many events at once, to the policy and to the recipe."""
    return [*sweep(cloud), *burst(cloud)]


def bound(groups: int) -> float:
    """Return the seconds that so many calls to one mutating API take at least."""
    bucket = throttling.BUCKETS[""]
    return (groups - bucket.size) / bucket.refill


def sweep(cloud: Cloud) -> list[Row]:
    """Close many open groups by `custodian run`."""
    cloud.reset()
    make_queue(cloud)
    load_groups([group(number, 1) for number in range(SWEPT)])
    with tempfile.TemporaryDirectory() as temporary, Throttling(throttling.clock(SPEED)).in_ec2():
        run = custodian_run(cloud, sweep_policy(Path(temporary)), BENCH_SPEED=str(SPEED), PYTHONPATH=str(FASTER))
    seconds, least = run.seconds * SPEED, bound(SWEPT)
    figures = f"{seconds:.0f} s : {least:.0f} s of EC2's time; {refusals(cloud)}"
    return [
        Row(f"sweep of {SWEPT} open groups, throttled", "(groups - 50) / 5 a second", 1.03, seconds / least, figures),
        count("its groups that are still open", 0, still_open(cloud), f"exit code {run.returncode}"),
    ]


def burst(cloud: Cloud) -> list[Row]:
    """Deliver one event for each open group, all at once."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, make in ((OURS, config_event), (RECIPE, recipe_event)):
            cloud.reset()
            deploy(cloud, Path(temporary), at_most=EVENTS)
            shapes = [group(number, 1) for number in range(EVENTS)]
            load_groups(shapes)
            with deployed(cloud, name, processes=PROCESSES) as function, Throttling().in_ec2():
                start = time.perf_counter()
                failed = deliver(function, map(make, shapes))
                seconds = time.perf_counter() - start
            figures = f"{seconds:.0f} s, at least {bound(EVENTS):.0f}; {failed} invocations failed; {refusals(cloud)}"
            target = 0 if name == OURS else None
            what = f"{EVENTS} events, {PROCESSES} at once: groups left open"
            rows.append(Row(what, "the policy" if name == OURS else "the recipe", target, still_open(cloud), figures))
    return rows


def refusals(cloud: Cloud) -> str:
    """Say how many calls were refused."""
    refused = sum(call.error == "RequestLimitExceeded" for call in cloud.calls)
    return f"{refused} of {len(cloud.calls)} calls refused"


def still_open(cloud: Cloud) -> int:
    """Count the groups that let the internet in."""
    groups = cloud.session().client("ec2").describe_security_groups()["SecurityGroups"]
    return sum(recipe.OPEN in str(group["IpPermissions"]) for group in groups)


def config_event(shape: dict[str, Any]) -> dict[str, Any]:
    """Return AWS Config's event about a group."""
    return event(configuration_item(shape), OURS)


def recipe_event(shape: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's notification about a group."""
    return recipe.event(shape["GroupId"])


def deliver(function: Function, events: Iterator[dict[str, Any]]) -> int:
    """Invoke the function with all events, as many at once as it has processes; count those that failed."""

    def fails(each: dict[str, Any]) -> bool:
        try:
            function.invoke(each)
        except FunctionError:
            return True
        return False

    with ThreadPoolExecutor(PROCESSES) as executor:
        return sum(executor.map(fails, list(events)))
