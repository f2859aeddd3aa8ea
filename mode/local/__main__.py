"""Run the whole loop on this machine, on the sample groups or on one's own: `python -m mode.local [groups.json]`.

One's own are what `aws ec2 describe-security-groups --output json` prints. With `--interfaces` and `--flows`, what
`aws ec2 describe-network-interfaces --output json` prints and VPC flow logs, it tells whom the change would cut off.
Nothing leaves the machine, and no credentials are needed. The exit code is 0 if every group ended as the pack promises,
1 if not, 2 if the loop could not be run.
"""

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mode.local import clients, exports, flows, groups, interfaces, show
from mode.local.loop import LoopError, Result, run
from mode.report.rows import Caller, CutOff, Facts
from mode.report.severity import traffic_text
from mode.report.sources import of_rehearsal
from mode.report.write import write

FOLDER = Path(".local", "run")


def main() -> int:
    """Run the loop and show what came of it; return the exit code."""
    arguments = _arguments()
    console = show.console()
    progress = show.Progress(console)
    try:
        chosen = _groups(arguments.groups)
        with _traffic(arguments, chosen, progress) as who_came_in:
            result = run(chosen, FOLDER, progress)
            told = who_came_in(result.records)
    except (exports.RefusedError, flows.RefusedError, LoopError) as error:
        print(show.printable(str(error)), file=sys.stderr)  # noqa: T201 - printing is what a command is for
        return 2
    with progress.step(f"wrote the report that one forwards: {FOLDER / 'report.html'}"):
        report(result, told)
    show.show(result, console, told)
    return 1 if result.failures else 0


def report(result: Result, told: clients.Told | None) -> None:
    """Write the page, and the CSV and JSON beside it."""
    made = of_rehearsal(
        [*result.groups, *result.foreign],
        result.records,
        result.failures,
        account=result.account,
        region=result.region,
        now=dt.datetime.now(dt.timezone.utc),
        facts=facts(told) if told else {},
    )
    write(made, result.folder)


def facts(told: clients.Told) -> dict[str, Facts]:
    """Give who would be cut off, by group and by rule, as the report takes it."""
    cut_off: dict[str, dict[str, CutOff]] = {}
    for evidence in told.rules:
        rule = evidence.rule
        callers = tuple(
            Caller(str(client.source), client.bytes, f"{client.last:%Y-%m-%d %H:%M}") for client in evidence.clients
        )
        words = f"{traffic_text(rule.protocol, rule.ports)} from {rule.was}"
        cut_off.setdefault(rule.group, {})[words] = CutOff(evidence.cut, evidence.bytes, callers)
    return {group: Facts(cut_off=by_rule) for group, by_rule in cut_off.items()}


@contextmanager
def _traffic(
    arguments: argparse.Namespace, chosen: list[groups.Group], progress: show.Progress
) -> Iterator[Callable[[list[dict[str, Any]]], clients.Told | None]]:
    """Read the traffic, so that what is wrong with it is said first; give what tells of it after the change."""
    if not arguments.flows:
        yield lambda _: None
        return
    there = interfaces.load(arguments.interfaces)
    interfaces.check(there, chosen, arguments.interfaces)
    with flows.read(arguments.flows, progress, FOLDER.parent) as log:
        clients.check(log, there)

        def who_came_in(records: list[dict[str, Any]]) -> clients.Told:
            with progress.share("looked up who came in through what was replaced") as done:
                return clients.who_came_in(log, there, chosen, records, done)

        yield who_came_in


def _groups(path: Path | None) -> list[groups.Group]:
    return groups.load(path) if path else groups.sample(dt.datetime.now(dt.timezone.utc).date())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m mode.local", description="The whole loop, on this machine alone.")
    parser.add_argument(
        "groups", nargs="?", type=Path, help=f"a file of your own groups, made by: {groups.COMMAND} (else a sample)"
    )
    parser.add_argument("--interfaces", type=Path, help=f"a file made by: {interfaces.COMMAND}")
    parser.add_argument("--flows", type=Path, nargs="+", help="VPC flow logs of these interfaces: files or folders")
    arguments = parser.parse_args()
    if bool(arguments.flows) != bool(arguments.interfaces):
        parser.error("FLOWS and INTERFACES belong together: flow logs name interfaces, and interfaces have the groups")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
