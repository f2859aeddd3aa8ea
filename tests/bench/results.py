"""The figures of a run as a file, so that two runs can be compared."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.table import Row

KEY = "c7n-ingress-bench"


def write(path: Path, parts: dict[str, list[Row]]) -> None:
    """Write the figures of all parts that have been measured."""
    rows = {name: [row._asdict() for row in rows] for name, rows in parts.items()}
    path.write_text(json.dumps({KEY: rows}, indent=1) + "\n")


def read(path: Path) -> dict[str, list[Row]]:
    """Return what `write` wrote.

    :raises SystemExit: names the file, and says what it should be.
    """
    try:
        return {name: [_row(row) for row in rows] for name, rows in json.loads(path.read_text())[KEY].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise SystemExit(
            f"{path} holds no figures of the bench ({type(error).__name__}: {error}): "
            "give a file that `python -m tests.bench` has written"
        ) from error


def _row(found: dict) -> Row:
    row = Row(**found)
    float(row.value), float(row.target or 0)  # numbers, or an error that says what it is instead
    return row
