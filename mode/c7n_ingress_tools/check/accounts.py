"""The checks of many accounts, which `c7n-org run-script` has written: one line for each account and region."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from c7n_ingress_tools.check.facts import OK, SIGNS, WRONG


class Place(NamedTuple):
    """An account and region, and what is wrong there."""

    account: str
    region: str
    wrong: list[str]
    """One sentence each, with the fix."""

    def __str__(self) -> str:
        """Return the line, with what is wrong below it."""
        state = f"{len(self.wrong)} wrong" if self.wrong else "all right"
        line = f"{SIGNS[WRONG if self.wrong else OK]} {self.account} {self.region}: {state}"
        return "\n".join([line, *(f"    {each}" for each in self.wrong)])


def places(folder: Path) -> list[Place]:
    """Read the output of `c7n-org run-script`: a folder for each account, and in it one for each region.

    :raises FileNotFoundError: no account was checked.
    """
    found = [_place(path) for path in sorted(folder.glob("*/*/stdout"))]
    if not found:
        raise FileNotFoundError(2, "no check of any account is there", str(folder))
    return found


def _place(path: Path) -> Place:
    account, region = path.parent.parent.name, path.parent.name
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["facts"]
        return Place(account, region, list(_wrong(facts)))
    except (ValueError, KeyError, TypeError):
        said = path.with_name("stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return Place(account, region, [f"was not checked: {said[-1] if said else 'the check wrote nothing'}"])


def _wrong(facts: list[dict[str, str]]) -> Iterator[str]:
    for fact in facts:
        if fact["state"] != OK:
            yield f"{fact['name']}: {fact['said']}" + (f"; fix: {fact['fix']}" if fact["fix"] else "")
