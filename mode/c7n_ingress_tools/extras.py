"""The packages that some commands need besides Cloud Custodian: the extras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def requires_extra(name: str) -> Iterator[None]:
    """End the command if an import in this block does not find its package, and print how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        fix = f"pip install 'c7n-ingress[{name}]', or '.[{name}]' in a clone of the project"
        raise SystemExit(f"{str(error.name).partition('.')[0]} is not installed: {fix}") from error
