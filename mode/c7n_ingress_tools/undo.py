"""Undo what one run did to one group: find its records, run policies/restore-ingress.yml, and read what it logs."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from logging.handlers import BufferingHandler
from typing import Any, NamedTuple

import boto3
from rich import box
from rich.table import Table
from rich.text import Text

from c7n_ingress.aws.journal import log as journal_log
from c7n_ingress.decide.commands import LOG_GROUPS, Undo
from c7n_ingress.decide.records import started
from c7n_ingress_tools import policies
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.pack import PACK
from c7n_ingress_tools.report import terminal
from c7n_ingress_tools.report.text import visible

POLICY = "restore-ingress"
GROUP = re.compile("sg-[0-9a-f]+")
EARLIER = timedelta(minutes=1)
"""How much before a run's start its records are looked for, because two clocks always differ."""

STOPPED = "stopped before it had ended: run the same command again to undo what is left"


class Done(NamedTuple):
    """What the policy did, or would do."""

    changes: list[dict[str, Any]]
    """The records of the changes."""
    problems: list[str]
    """The rules that were left alone, and the failures."""
    notes: list[str]
    """The rules that were back already."""

    @property
    def shown(self) -> tuple[object, ...]:
        """What a person is shown: each preview has a run and a time of its own."""
        changes = [{key: each[key] for key in each if key not in ("run", "time")} for each in self.changes]
        return changes, self.problems, self.notes

    def show(self, group: str, *, preview: bool) -> None:
        """Print each rule before and after, and a line for each that is left alone, failed or was back already."""
        console = terminal.console()
        if self.changes:
            table = Table("rule", "protocol", "ports", "before", "after", "description", box=box.SIMPLE)
            for each in self.changes:
                perhaps = "perhaps " if each["how"].startswith("perhaps") else ""  # EC2's answer did not arrive
                now = f"{perhaps}{each['now'] or '-'}"
                cells = (each["rule"], each["protocol"], each["ports"], each["was"], now, each["description"])
                table.add_row(*(Text(visible(str("-" if cell is None else cell))) for cell in cells))
            console.print(f"{group}: {'would change, nothing is changed yet' if preview else 'undone'}")
            console.print(table)
        else:
            console.print(f"{group}: {'nothing was undone' if self.problems else 'nothing to undo'}")
        for line in [*self.notes, *self.problems]:
            console.print(Text(visible(line)), soft_wrap=True)


def run(undo: Undo, session: boto3.Session, settings: Mapping[str, Any], *, preview: bool) -> Done:
    """Run the policy, and return what it did even if an error or Ctrl-C ended it.

    :raises CommandError: the policy could not run, or the group, the run or the journal cannot be right.
    :raises KeyboardInterrupt: somebody stopped it before it changed anything.
    """
    filled = {**settings, "group": undo.group, "run": undo.run, "journal": journal(undo, session), "preview": preview}
    account = session.client("sts").get_caller_identity()["Account"]
    failure: BaseException | None = None
    with logged() as records:
        try:
            (policy,) = policies.load(PACK / "policies" / f"{POLICY}.yml", filled, account, undo.region)
            policy()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what was changed before is shown with it
            failure = error
    changes = [json.loads(each.getMessage()) for each in records if each.name == journal_log.name]
    errors = said(records, logging.ERROR)
    if isinstance(failure, KeyboardInterrupt):
        if preview or not changes:
            raise failure
        errors.append(STOPPED)
    elif failure and not errors:
        if not changes:
            raise CommandError(" ".join(str(failure).removeprefix(f"{POLICY}: ").split())) from failure
        errors = [str(failure)]
    return Done(changes, [*said(records, logging.WARNING), *errors], said(records, logging.INFO))


def journal(undo: Undo, session: boto3.Session) -> dict[str, Any]:
    """Return where the records are, as the policy's `from` names it."""
    if not GROUP.fullmatch(undo.group):
        raise CommandError(
            f"{undo.group!r} is not the id of a security group: copy it from the message, such as sg-0123abcd"
        )
    if undo.journal:
        return {"url": undo.journal} if undo.journal.startswith(("file:", "s3://")) else {"log-groups": [undo.journal]}
    try:
        since = started(undo.run) - EARLIER
    except ValueError as error:
        raise CommandError(f"{error}, or name the place of its records with --journal") from error
    pages = session.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=LOG_GROUPS[0])
    known = set(pages.search("logGroups[].logGroupName"))
    if not (found := [name for name in LOG_GROUPS if name in known]):
        raise CommandError(
            f"no function of the pack has a log group in {undo.region}: check the account and the region, or name the "
            "place of its records with --journal: a log group, or the URL of a custodian-run.log"
        )
    return {"log-groups": found, "since": since.isoformat()}


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """Yield what c7n logs in this block. Nothing of it is printed."""
    handler, custodian = BufferingHandler(sys.maxsize), logging.getLogger("custodian")
    before = custodian.level
    logging.getLogger().addHandler(handler)
    custodian.setLevel(logging.INFO)
    try:
        yield handler.buffer
    finally:
        custodian.setLevel(before)
        logging.getLogger().removeHandler(handler)


def said(records: Iterable[logging.LogRecord], level: int) -> list[str]:
    """Return what the policy's action said at a level."""
    texts = [each.getMessage() for each in records if each.levelno == level]
    return [text.removeprefix(f"{POLICY}: ") for text in texts if text.startswith(f"{POLICY}: ")]
