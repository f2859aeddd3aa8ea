"""Report what a sweep left: `python -m c7n_ingress_tools.report out`, the folder of `custodian run -s` or c7n-org.

Writes report.html, report.csv and report.json into the first folder. The exit code is 0, or 2 if there is nothing that
could be reported.
"""

import argparse
import datetime as dt
import sys
from pathlib import Path

from c7n_ingress_tools.extras import of_extra

with of_extra("report"):
    from c7n_ingress_tools.report.sources import NoRunError, facts_from, of_runs
    from c7n_ingress_tools.report.text import visible
    from c7n_ingress_tools.report.write import write


def main(arguments: list[str] | None = None) -> int:
    """Make the report; return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        report = of_runs(asked.folders, facts_from(asked.facts), dt.datetime.now(dt.timezone.utc))
    except NoRunError as error:
        print(visible(str(error)), file=sys.stderr)  # noqa: T201 - printing is what a command is for
        return 2
    into = asked.into or asked.folders[0]
    try:
        print(write(report, into))  # noqa: T201
    except OSError as error:
        where = visible(str(error.filename or into))
        print(f"{where}: cannot be written ({error.strerror}). Name another folder: --into DIR", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m c7n_ingress_tools.report", description="A page of what a sweep found and did."
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, help="where runs have left their output, there or in folders below it"
    )
    parser.add_argument("--into", type=Path, help="the folder to write into (else the first of those)")
    parser.add_argument(
        "--facts", type=Path, help="a JSON file of what else is known of groups: exposure, behind, cut_off"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
