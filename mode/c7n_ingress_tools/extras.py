"""The packages that some commands need besides Cloud Custodian: the extras."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def requires_extra(name: str) -> Iterator[None]:
    """End the command if an import in this block does not find its package, and print how to install it.

    :raises SystemExit: with the exit code 2.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        fix = f"pip install 'c7n-ingress[{name}]', or '.[{name}]' in a clone of the project"
        print(f"{str(error.name).partition('.')[0]} is not installed: {fix}", file=sys.stderr)
        raise SystemExit(2) from error
