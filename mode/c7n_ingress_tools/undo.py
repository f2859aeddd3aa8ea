"""Undo what one run did to one group: find its records, run policies/restore-ingress.yml, and read its result."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from click import ClickException
from rich import box
from rich.table import Table
from rich.text import Text

from c7n_ingress.decide.commands import LOG_GROUPS, Undo
from c7n_ingress.decide.records import started
from c7n_ingress_tools.pack import PACK
from c7n_ingress_tools.report import terminal
from c7n_ingress_tools.report.text import visible

POLICY = "restore-ingress"
LINE = re.compile(rf"\S+ \S+ - (?P<logger>\S+) - (?P<level>[A-Z]+) - (?P<policy>{POLICY}: )?(?P<message>.*)")
"""How c7n writes a line of its log: `LogOutput.log_format` in c7n/output.py."""

EXCEPTION = re.compile(r"^[\w.]+(?:Error|Exception): (.+)", re.MULTILINE)
LOGGED = re.compile(r"custodian\.\w+:ERROR (.+)")
GROUP = re.compile("sg-[0-9a-f]+")
EARLIER = timedelta(minutes=1)  # than the run's start, because two clocks always differ
URLS = ("file:", "s3://")


class UndoError(ClickException):
    """The undo could not run. The message is one line with the fix."""


class Done(NamedTuple):
    """What the policy did, or would do."""

    changes: list[dict[str, Any]]
    """The records of the changes."""
    problems: list[str]
    """The rules that were left alone, and the failures."""
    notes: list[str]
    """The rules that were back already."""

    def show(self, group: str, *, preview: bool) -> None:
        """Print each rule before and after, and a line for each that is left alone, failed or was back already."""
        console = terminal.console()
        if self.changes:
            table = Table("rule", "protocol", "ports", "before", "after", "description", box=box.SIMPLE)
            for each in self.changes:
                cells = (each[key] for key in ("rule", "protocol", "ports", "was", "now", "description"))
                table.add_row(*(Text(visible(str("-" if cell is None else cell))) for cell in cells))
            console.print(f"{group}: {'would change, nothing is changed yet' if preview else 'undone'}")
            console.print(table)
        else:
            console.print(f"{group}: nothing to undo")
        for line in [*self.notes, *self.problems]:
            console.print(Text(visible(line)), soft_wrap=True)


def journal(undo: Undo, session: boto3.Session) -> dict[str, Any]:
    """Return where the records are, as the policy's `from` names it.

    :raises UndoError: the group, the run or the place cannot be right.
    """
    if not GROUP.fullmatch(undo.group):
        raise UndoError(
            f"{undo.group!r} is not the id of a security group: copy it from the message, such as sg-0123abcd"
        )
    if undo.journal:
        return {"url": undo.journal} if undo.journal.startswith(URLS) else {"log-groups": [undo.journal]}
    another = "name the place of its records with --journal: a log group, or the URL of a custodian-run.log"
    try:
        since = started(undo.run) - EARLIER
    except ValueError as error:
        raise UndoError(f"{error}. For a run of an earlier release, {another}") from error
    pages = session.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=LOG_GROUPS[0])
    known = {group["logGroupName"] for page in pages for group in page["logGroups"]}
    if not (found := [name for name in LOG_GROUPS if name in known]):
        raise UndoError(f"no function of the pack has a log group in {undo.region}: check the region, or {another}")
    return {"log-groups": found, "since": since.isoformat()}


def run(undo: Undo, place: Mapping[str, Any], known: Mapping[str, Any], *, preview: bool) -> Done:
    """Run the policy in a new folder, so that two runs at once do not mix.

    :raises UndoError: the policy could not run, or changed nothing because of an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        variables, output = Path(folder, "variables.json"), Path(folder, "out")
        filled = {**known, "group": undo.group, "run": undo.run, "journal": place, "preview": preview}
        variables.write_text(json.dumps(filled, default=str), encoding="utf-8")
        options = ["--region", undo.region, "-s", str(output), "--vars-file", str(variables)]
        done = subprocess.run(
            [custodian(), "run", *options, PACK / "policies" / f"{POLICY}.yml"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        log = output / POLICY / "custodian-run.log"
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    found = [match for match in map(LINE.fullmatch, lines) if match]
    changes = [json.loads(each["message"]) for each in found if each["logger"] == "custodian.journal"]
    said: dict[str, list[str]] = defaultdict(list)
    for each in found:
        if each["policy"]:
            said[each["level"]].append(each["message"])
    if done.returncode and not changes:
        why = (
            EXCEPTION.findall(done.stderr)
            or LOGGED.findall(done.stderr)
            or done.stderr.strip().splitlines()
            or ["no reason was printed"]
        )
        raise UndoError((said["ERROR"] or why)[-1].removeprefix(f"{POLICY}: "))
    return Done(changes, [*said["WARNING"], *said["ERROR"]], said["INFO"])


def custodian() -> str:
    """Return the path of the command `custodian` of this installation, or else of the one on the PATH."""
    beside = (Path(command).with_name("custodian") for command in (sys.argv[0], sys.executable))
    found = next((str(path) for path in beside if path.exists()), None) or shutil.which("custodian")
    if not found:
        raise UndoError("no command custodian found: install c7n where c7n-ingress is installed")
    return found
