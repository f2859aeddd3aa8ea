"""Run the whole loop on this machine, on the sample groups or on one's own: `python -m mode.local [groups.json]`.

One's own are what `aws ec2 describe-security-groups --output json` prints. Nothing leaves the machine, and no
credentials are needed. The exit code is 0 if every group ended as the pack promises, 1 if not, 2 if the loop could not
be run.
"""

import argparse
import datetime as dt
import sys
from pathlib import Path

from mode.local import groups, show
from mode.local.loop import LoopError, Result, run
from mode.report.sources import of_rehearsal
from mode.report.write import write

FOLDER = Path(".local", "run")


def main() -> int:
    """Run the loop and show what came of it; return the exit code."""
    arguments = _arguments()
    console = show.console()
    try:
        chosen = (
            groups.load(arguments.groups)
            if arguments.groups
            else groups.sample(dt.datetime.now(dt.timezone.utc).date())
        )
        progress = show.Progress(console)
        result = run(chosen, FOLDER, progress)
    except (groups.RefusedError, LoopError) as error:
        print(show.printable(str(error)), file=sys.stderr)  # noqa: T201 - printing is what a command is for
        return 2
    with progress.step(f"wrote the report that one forwards: {FOLDER / 'report.html'}"):
        report(result)
    show.show(result, console)
    return 1 if result.failures else 0


def report(result: Result) -> None:
    """Write the page, and the CSV and JSON beside it."""
    made = of_rehearsal(
        [*result.groups, *result.foreign],
        result.records,
        result.failures,
        account=result.account,
        region=result.region,
        now=dt.datetime.now(dt.timezone.utc),
    )
    write(made, result.folder)


def _groups(path: Path | None) -> list[groups.Group]:
    return groups.load(path) if path else groups.sample(dt.datetime.now(dt.timezone.utc).date())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m mode.local", description="The whole loop, on this machine alone.")
    parser.add_argument(
        "groups", nargs="?", type=Path, help=f"a file of your own groups, made by: {groups.COMMAND} (else a sample)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
