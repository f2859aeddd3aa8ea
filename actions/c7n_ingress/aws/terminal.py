"""The terminal of a local run: a table at its end instead of the journal's records, which are in the run's log."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from c7n_ingress.aws import journal
from c7n_ingress.aws.job import Job
from c7n_ingress.decide.message import Outcome

log = logging.getLogger("custodian.actions")


def without_records(manager: Any) -> None:
    """Keep the records off the terminal of a local run. The log that has them has a handler of another type."""
    if journal.is_local(manager):
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:  # c7n's command makes it
                handler.addFilter(_is_no_record)


def _is_no_record(line: logging.LogRecord) -> bool:
    return line.name != journal.log.name


def sum_up(job: Job, outcomes: Iterable[Outcome]) -> None:
    """Print what became of each rule, if this is a local run."""
    if not journal.is_local(job.action.manager):
        return
    from c7n_ingress.decide.summary import table

    if lines := table(outcomes, job.deed, preview=job.preview):
        log.info("%s:\n%s", job.action.type, "\n".join(lines))
