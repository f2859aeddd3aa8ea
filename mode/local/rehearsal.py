"""What `python -m mode.local` does: read what it is given, run the loop, write the report, show the result."""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from c7n.utils import yaml_load

from mode.extras import of_extra
from mode.local import exports, groups, interfaces, show, vpcs
from mode.local.loop import POLICY, LoopError, Result, run
from mode.report.rows import CutOff, Facts
from mode.report.sources import of_rehearsal
from mode.report.write import write

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

FOLDER = Path(".local", "run")


def main(arguments: argparse.Namespace, commands: Path) -> int:
    """Run the loop and show what came of it; return the exit code. `commands` is the folder that `warm` gives."""
    console = show.console()
    progress = show.Progress(console)
    cut_off: Mapping[str, Mapping[str, CutOff]] = {}
    told = None
    try:
        chosen = _groups(arguments.groups)
        there = _interfaces(arguments, chosen)
        known = vpcs.load(arguments.vpcs, chosen) if arguments.vpcs else ()
        with _traffic(arguments, there, chosen, progress) as who_came_in:
            result = run(chosen, FOLDER, progress, commands, there=there, vpcs=known)
            if who_came_in:
                told = who_came_in(result.records)
                cut_off = _module_traffic().cut_off(told)
    except (exports.UnusableError, LoopError) as error:
        print(show.printable(str(error)), file=sys.stderr)  # noqa: T201 - printing is what a command is for
        return 2
    with progress.step(f"wrote the report that one forwards: {FOLDER / 'report.html'}"):
        report(result, cut_off)
    show.show(result, console, told)
    return 1 if result.failures else 0


def report(result: Result, cut_off: Mapping[str, Mapping[str, CutOff]]) -> None:
    """Write the page, and the CSV and JSON beside it."""
    made = of_rehearsal(
        [*result.groups, *result.foreign],
        result.records,
        result.failures,
        account=result.account,
        region=result.region,
        now=dt.datetime.now(dt.timezone.utc),
        facts=facts(result, cut_off),
        public_ports=public_ports(result.folder / POLICY.name),
    )
    write(made, result.folder)


def public_ports(policy: Path) -> list[int | str]:
    """Return the ports that the rehearsed policy leaves open."""
    filters = yaml_load(policy.read_text(encoding="utf-8"))["policies"][0]["filters"]
    return [port for each in filters if each.get("type") == "open-ingress" for port in each.get("OnlyPorts", ())]


def facts(result: Result, cut_off: Mapping[str, Mapping[str, CutOff]]) -> dict[str, Facts]:
    """Give what stands behind each group and who would be cut off, as far as somebody has looked."""
    found = {}
    for group in result.behind.keys() | cut_off.keys():
        behind = result.behind.get(group)
        said = (behind.exposure, tuple(behind.phrases)) if behind else (None, None)
        found[group] = Facts(*said, cut_off=cut_off.get(group))
    return found


def _groups(path: Path | None) -> list[groups.Group]:
    return groups.load(path) if path else groups.sample(dt.datetime.now(dt.timezone.utc).date())


def _interfaces(arguments: argparse.Namespace, chosen: list[groups.Group]) -> list[interfaces.Interface]:
    """Read the interfaces, if there are any; the sample has its own."""
    path = arguments.interfaces or (None if arguments.groups else interfaces.SAMPLE)
    if path is None:
        return []
    there = interfaces.load(path)
    interfaces.check(there, chosen, path)
    return there


def _traffic(
    arguments: argparse.Namespace,
    there: list[interfaces.Interface],
    chosen: list[groups.Group],
    progress: show.Progress,
) -> AbstractContextManager:
    """Read the flow logs, if there are any; give what asks them, or None."""
    if not arguments.flows:
        return nullcontext()
    return _module_traffic().reading(arguments.flows, there, chosen, progress, FOLDER.parent)


def _module_traffic():
    """Load what reads flow logs: only for those who have some, as it takes DuckDB."""
    with of_extra("flows"):
        from mode.local import traffic  # noqa: PLC0415
    return traffic
