"""The checks of many accounts, which `c7n-org run-script` has written: one line for each account and region."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from c7n_ingress_tools.accounts import EVERYBODY, Asked, Listed, Written, too_old, written_in
from c7n_ingress_tools.check.facts import OK, SIGNS, WRONG
from c7n_ingress_tools.report.text import visible

NOT_WHOLE = "what the check wrote is not whole: run it again"


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


def places(folder: Path, asked: Asked = EVERYBODY) -> list[Place]:
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
        text, why = "", "its role cannot be assumed, or c7n-org did not run there"
    except OSError as error:
        text, why = "", f"{error.filename}: {error.strerror}"
    if why := asked.why(output.name, output.region) or why:
        return _unanswered(output, why)
    try:
        return Place(output.name, output.region, list(_wrong(json.loads(text), output.region)))
    except (ValueError, KeyError, TypeError, RecursionError):
        try:
            said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
        except OSError:
            said = ""
        lines = [line.strip() for line in said.split("\n") if line.strip()]
        return _unanswered(output, lines[-1] if lines else NOT_WHOLE if text else "the check wrote nothing")


def _unanswered(output: Written, why: str) -> Place:
    return Place(output.name, output.region, [f"no answer: {why}"])


def _wrong(checked: dict[str, Any], region: str) -> Iterator[str]:
    """Yield what is wrong: the facts that are not as they should be, and the canary's stage that was not reached.

    :raises ValueError: no fact is about the region.
    """
    if region not in [fact["region"] for fact in checked["facts"]]:
        raise ValueError(f"no fact is about {region}")
    for fact in checked["facts"]:
        if fact["state"] != OK:
            yield _with_fix(f"{fact['name']}: {fact['said']}", fact["fix"])
    for flown in checked.get("canary", ()):
        if flown["failed"]:
            yield _with_fix(f"canary: not reached: {flown['failed']}", flown["fix"])


def _with_fix(said: str, fix: str) -> str:
    return f"{said}; fix: {fix}" if fix else said
