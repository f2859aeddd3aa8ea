"""`make demo` once all is installed: on its sample, and on the groups of a large account."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.bench.groups import groups
from tests.bench.table import Row
from tests.support.embedded import ROOT

SIZE = 5_000
ONE_IN = 10
ROUNDS = 3
DEMO, REHEARSAL = 5.0, 60.0
"""Seconds that are wanted."""


def measure(_cloud: Cloud) -> list[Row]:
    """Run the demo in the median of some rounds, and the rehearsal once."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "groups.json").write_text(json.dumps({"SecurityGroups": groups(SIZE, ONE_IN)}))
        demos = sorted(run(folder) for _ in range(ROUNDS))
        rehearsal = run(folder, "groups.json")
    what = f"rehearsal of {SIZE} groups, 1 in {ONE_IN} open, with a message each"
    return [
        Row("the demo, on its 14 groups", "seconds", DEMO, *seen(demos[ROUNDS // 2])),
        Row(what, "seconds", REHEARSAL, *seen(rehearsal)),
    ]


def run(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run it in a folder, as `make demo` does; return the seconds that passed, and those of processors."""
    before, start = of_processors(), time.perf_counter()
    subprocess.run(
        [Path(sys.executable).with_name("c7n-ingress"), "rehearse", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start, of_processors() - before


def of_processors() -> float:
    """Return the seconds that ended processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seen(measured: tuple[float, float]) -> tuple[float, str]:
    """Return the value of a row, and what is shown beside it."""
    seconds, processors = measured
    return seconds, f"{processors:.1f} s of processors"
