"""What the commands of this folder need beside Cloud Custodian: the package's extras."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def of_extra(name: str) -> Iterator[None]:
    """Have imports in this block that find no package end the command with the line that installs it.

    :raises SystemExit: with the exit code 2, once standard error has the package and the extra that it is of.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        mend = f"pip install 'c7n-ingress[{name}]', or '.[{name}]' in a clone of the project"
        print(f"{str(error.name).partition('.')[0]} is not installed: {mend}", file=sys.stderr)
        raise SystemExit(2) from error
