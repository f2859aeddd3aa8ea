"""The checks of many accounts, which `c7n-org run-script` has written: one line for each account and region."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from c7n_ingress_tools.accounts import Asked, Listed, Written, too_old, written_in
from c7n_ingress_tools.check.facts import OK, SIGNS, WRONG
from c7n_ingress_tools.errors import in_one_line
from c7n_ingress_tools.report.text import visible


class Place(NamedTuple):
    """An account and region, and what is wrong there."""

    account: str
    region: str
    wrong: list[str]
    """One sentence each, with the fix."""

    def __str__(self) -> str:
        """Return the line, with what is wrong below it."""
        state = f"{len(self.wrong)} wrong" if self.wrong else "all right"
        line = f"{SIGNS[WRONG if self.wrong else OK]} {visible(self.account)} {visible(self.region)}: {state}"
        return "\n".join([line, *(f"    {visible(each)}" for each in self.wrong)])


def places(folder: Path, asked: Asked) -> list[Place]:
    """Read the output of `c7n-org run-script`: a folder for each account, and in it one for each region.

    :raises FileNotFoundError: no account was checked, and none is expected.
    """
    if (expected := asked.places) is None:
        written = (path.relative_to(folder).parts[:-1] for path in sorted(folder.glob("*/**/stdout")))
        expected = tuple(Listed("/".join(name), "", region) for *name, region in written if name)
    found = [_place(each, asked) for each in sorted(written_in([folder], expected, asked.said))]
    if not found:
        raise FileNotFoundError(2, "no check of any account is there", str(folder))
    return found


def _place(output: Written, asked: Asked) -> Place:
    (folder,) = output.folders
    try:
        text = (folder / "stdout").read_text(encoding="utf-8", errors="replace")
        written = dt.datetime.fromtimestamp((folder / "stdout").stat().st_mtime, dt.timezone.utc)
        why = too_old(written, asked.since) if asked.since and written < asked.since else ""
    except FileNotFoundError:
        why = "its role cannot be assumed, or c7n-org did not run there"
    except OSError as error:
        why = in_one_line(error)
    if why := asked.why(output.name, output.region) or why:
        return Place(output.name, output.region, [f"no answer: {why}"])
    try:
        wrong = list(_wrong(json.loads(text), output.region))
    except (ValueError, KeyError, TypeError, RecursionError):
        wrong = [f"no answer: {_last_line(folder / 'stderr') or 'what the check wrote is not whole: run it again'}"]
    return Place(output.name, output.region, wrong)


def _wrong(checked: dict[str, Any], region: str) -> Iterator[str]:
    """Yield the facts that are not as they should be.

    :raises ValueError: no fact is about the region.
    """
    if region not in [fact["region"] for fact in checked["facts"]]:
        raise ValueError(f"no fact is about {region}")
    for fact in checked["facts"]:
        if fact["state"] != OK:
            yield f"{fact['name']}: {fact['said']}" + (f"; fix: {fact['fix']}" if fact["fix"] else "")


def _last_line(path: Path) -> str:
    """Return the last line with text, such as that of a traceback; an empty text if there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.strip().rpartition("\n")[2].strip()
