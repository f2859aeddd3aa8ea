"""Cold starts, warm events and zips: the deployed function against the recipe's, and against c7n's stock handler."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event, Thread

from moto.sqs.models import sqs_backends

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.embedded_aws.server import ACCOUNT, REGION, Cloud
from c7n_ingress_tools.functions.runtime import Function, deployed
from tests.bench import recipe
from tests.bench.commands import plain, stock_policy
from tests.bench.groups import group
from tests.bench.table import Row, count, ratio
from tests.support.embedded import MUTATING, load, make_queue, make_table, messages, run

OURS = "custodian-open-ingress"
WITHOUT = "custodian-without-bytecode"
STOCK = "custodian-stock"
RECIPE = "recipe"
GROUP = group(0, 0)["GroupId"]
COLD, WARM = 15, 80
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""This Python, which runs all functions."""


def measure(cloud: Cloud) -> list[Row]:
    """Measure all three functions in turns, so that whatever else the machine does meets them alike."""
    with tempfile.TemporaryDirectory() as temporary, functions(cloud, Path(temporary)) as (ours, without, stock, other):
        return [
            *cold(cloud, ours, without, other),
            *warm(cloud, ours, stock, other),
            *calls(cloud, ours),
            zips(Path(temporary)),
        ]


@contextmanager
def functions(cloud: Cloud, folder: Path) -> Iterator[tuple[Function, ...]]:
    """Deploy the policy, the same without bytecode, a stock one and the recipe, and return them in this order."""
    deploy(cloud, folder)
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(deployed(cloud, name, folder=made(folder / name)))
            for name in (OURS, WITHOUT, STOCK, RECIPE)
        )


def deploy(cloud: Cloud, folder: Path, **more: object) -> None:
    """Deploy the policy, the same without bytecode and a stock one with `custodian run`, and the recipe."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    cloud.session().client("iam").create_role(RoleName=OURS, AssumeRolePolicyDocument=trust)
    cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    make_queue(cloud)
    make_table(cloud)
    policy = plain("open-ingress", folder, **more)
    without = folder / "without-bytecode.yml"  # deployed for the Python that it has, which is not this one
    without.write_text(policy.read_text().replace("name: open-ingress\n", "name: without-bytecode\n"))
    policy.write_text(re.sub(r"(?m)^( *runtime: ).*", rf"\1{RUNTIME}", policy.read_text()))
    for path in (policy, without, stock_policy(policy)):
        result = run(cloud, path, folder)
        assert result.returncode == 0, result.stderr
    deploy_recipe(cloud)


def deploy_recipe(cloud: Cloud) -> None:
    """Deploy the recipe's function."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.write(recipe.__file__, "recipe.py")
    role = cloud.session().client("iam").get_role(RoleName=OURS)["Role"]["Arn"]
    cloud.session().client("lambda").create_function(
        FunctionName=RECIPE,
        Runtime="python3.13",
        Role=role,
        Handler="recipe.handler",
        Code={"ZipFile": code.getvalue()},
        Timeout=60,
        MemorySize=512,
    )


def made(folder: Path) -> Path:
    """Make a folder, and return it."""
    folder.mkdir()
    return folder


def cold(cloud: Cloud, ours: Function, without: Function, other: Function) -> list[Row]:
    """Time new processes to the call that fixes the group."""
    *times, theirs = in_turns(
        COLD,
        lambda: to_call(cloud, "ModifySecurityGroupRules", fresh(ours), opened(cloud, 1)),
        lambda: to_call(cloud, "ModifySecurityGroupRules", fresh(without), opened(cloud, 1)),
        lambda: (opened(cloud, 1), to_call(cloud, "RevokeSecurityGroupIngress", fresh(other), recipe.event(GROUP)))[1],
    )
    what = "cold start, to the group's fix"
    return [
        ratio(name, "recipe", 1.0, time, theirs)
        for name, time in zip((what, f"{what}, deployed where the function's Python is not"), times, strict=True)
    ]


def fresh(function: Function) -> Function:
    """End the function's process. AWS's code folder is read-only: no bytecode stays in it but for the zip's own."""
    function.stop()
    folder = function.logs[0].parent
    (archive,) = folder.glob("*.zip")
    with zipfile.ZipFile(archive) as shipped:
        kept = set(shipped.namelist())
    for path in Path(folder, "task").rglob("*.pyc"):
        if str(path.relative_to(folder / "task")) not in kept:
            path.unlink()
    return function


def opened(cloud: Cloud, rules: int) -> dict:
    """Open so many rules of the group, forget calls and messages, and return Config's event."""
    shape = group(0, rules, closed=0)
    load([shape])
    sqs = sqs_backends[ACCOUNT][REGION]  # moto looks through all that a queue holds
    sqs.delete_queue("custodian-mailer")
    sqs.create_queue("custodian-mailer")
    cloud.calls.clear()
    return event(configuration_item(shape), OURS)


def to_call(cloud: Cloud, action: str, function: Function, item: dict) -> float:
    """Return the seconds from the invocation to the answer of a call."""
    return to_calls(cloud, [action], function, item)[0]


def to_calls(cloud: Cloud, actions: Sequence[str], function: Function, item: dict) -> list[float]:
    """Return the seconds from the invocation to the answer of each call."""
    seen, over = {}, Event()

    def watch() -> None:
        while not over.wait(0.0005):
            for call in list(cloud.calls):
                seen.setdefault(call.action, time.perf_counter())

    watcher = Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    function.invoke(item)
    over.set()
    watcher.join()
    return [seen.get(action, time.perf_counter()) - start for action in actions]


def warm(cloud: Cloud, ours: Function, stock: Function, other: Function) -> list[Row]:
    """Time events of processes that have had one."""
    rows = []
    for rules, target in ((1, 0.8), (10, 0.3)):
        rows += against(
            f"warm event, {rules} open rule{'s' * (rules > 1)}, notify and evaluation included",
            "recipe, neither",
            target,
            (ours, lambda rules=rules: opened(cloud, rules)),
            (other, lambda rules=rules: (opened(cloud, rules), recipe.event(GROUP))[1]),
        )
    compliant = partial(opened, cloud, 0)
    what = "warm event, compliant group"
    return [*rows, *against(what, "c7n's stock handler", 0.5, (ours, compliant), (stock, compliant))]


def against(what: str, whom: str, target: float, *functions: tuple[Function, Callable[[], dict]]) -> list[Row]:
    """Compare how long events of two functions take, and how long their own processes compute for them."""
    for function, event_of in functions:
        function.invoke(event_of())  # starts the process, if there is none
    before = [processor(function) for function, _ in functions]
    times = in_turns(WARM, *(partial(timed_event, *each) for each in functions))
    taken = [(processor(function) - start) / WARM for (function, _), start in zip(functions, before, strict=True)]
    return [ratio(what, whom, target, *times), ratio(f"{what}: the function's own processor time", whom, None, *taken)]


def processor(function: Function) -> float:
    """Return how many seconds of a processor the function's process has taken."""
    (sandbox,) = function._sandboxes
    _, _, fields = Path(f"/proc/{sandbox._process.pid}/stat").read_text().rpartition(")")
    return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")


def in_turns(times: int, *measures: Callable[[], float]) -> list[float]:
    """Take each measure in turn, so many times, and return the median of each; the first round warms up."""
    rounds = [[each() for each in measures] for _ in range(times)]
    return [median(column) for column in zip(*rounds[1:], strict=True)]


def timed_event(function: Function, event_of: Callable[[], dict]) -> float:
    """Return the seconds that an event takes, without those that it takes to make it."""
    item = event_of()
    start = time.perf_counter()
    function.invoke(item)
    return time.perf_counter() - start


def calls(cloud: Cloud, ours: Function) -> list[Row]:
    """Count the calls of warm events."""
    ours.invoke(opened(cloud, 10))
    names = [call.action for call in cloud.calls]
    messages(cloud)
    return [
        count("API calls of a warm event, all services", 6, len(names), ", ".join(names)),
        count("mutating calls a group, 10 open rules", 1, sum(name in MUTATING for name in names)),
    ]


def zips(folder: Path) -> Row:
    """Weigh the zips that were deployed."""
    ours, stock = ((folder / name / f"{name}.zip").stat().st_size for name in (OURS, STOCK))
    return Row("zip", "the stock policy's", 1.05, ours / stock, f"{ours / 1024:.0f} KiB : {stock / 1024:.0f} KiB")
