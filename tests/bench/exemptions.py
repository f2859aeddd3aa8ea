"""A sweep with a register of exemptions, against the same sweep without one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.bench.commands import sweep_policy
from tests.bench.sweep import ROUNDS, SIZES, swept
from tests.bench.table import Row

ENTRIES = 500


def register() -> list[dict[str, object]]:
    """Return entries that exempt nothing in the account: half of them name ids, half patterns for names."""
    keys: dict[str, object] = {"ports": ["tcp/1"], "until": "2099-01-31", "reason": "a public shop"}
    ids = [{"group": f"sg-{number:017x}", **keys} for number in range(1, ENTRIES // 2 + 1)]
    return ids + [{"group": f"bench-{number}*", **keys} for number in range(ENTRIES // 2)]


def measure(cloud: Cloud) -> list[Row]:
    """Sweep the same groups with and without the register, in turns."""
    with tempfile.TemporaryDirectory() as temporary:
        policy, without = (Path(temporary, name) for name in ("with", "without"))
        for folder in (policy, without):
            folder.mkdir()
        policy, without = sweep_policy(policy, exemptions=register()), sweep_policy(without)
        rounds = [[swept(cloud, each, SIZES[0]) for each in (policy, without)] for _ in range(ROUNDS)]
    ours, theirs = (sorted(sweeps)[ROUNDS // 2] for sweeps in zip(*rounds, strict=True))
    what = f"sweep of {SIZES[0]} groups with {ENTRIES} exemptions"
    return [Row(what, "the same without", 1.1, ours.seconds / theirs.seconds, f"{ours} : {theirs}")]
