"""The path of all groups through an action: read, plan, apply, record, notify."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from c7n.exceptions import ClientError, PolicyExecutionError

from c7n_ingress.aws import journal
from c7n_ingress.aws.calls import GONE, ONCE, client_of, error_code, said
from c7n_ingress.aws.job import Job, is_tried_again
from c7n_ingress.aws.live import Shown
from c7n_ingress.aws.notify import check_reachable, notify_people, report_to_config
from c7n_ingress.aws.read import MATCHED, LiveGroups, Reading, Unread, uncollected
from c7n_ingress.aws.settle import foresee, settle
from c7n_ingress.decide.awaited import said_by
from c7n_ingress.decide.behind import rank
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import matches_from, text_of
from c7n_ingress.decide.severity import worst
from c7n_ingress.in_time import ended_on_request

log = logging.getLogger("custodian.actions")

PERMISSIONS = (
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSecurityGroupRules",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:ModifySecurityGroupRules",
    "ec2:RevokeSecurityGroupIngress",
)


@ended_on_request()
@uncollected()
def run(job: Job, resources: list[dict[str, Any]], event: dict[str, Any] | None) -> list[Record]:
    """Change the rules of each group that still matches, report what changed and what failed, and return all records.

    :raises PolicyExecutionError: a group failed, or nobody could be notified; the other groups are done by then. A
        preview that has reported what would fail does not raise. Nor does a deployed policy that has reported the
        groups that ``at-most`` leaves open: Lambda would run it twice more, and close three times as many.
    """
    manager = job.action.manager
    groups = LiveGroups(manager, client_of(manager), event)
    writer = client_of(manager, config=ONCE)
    outcomes: list[Outcome] = []
    changed = waiting = 0
    _without_records(manager)
    check_reachable(job)
    try:
        worst_first = sorted(resources, key=_urgency(job, resources))
        shown = Shown(groups, worst_first, said_by(event))
        for number, reading in enumerate(shown.readings(), 1):  # read
            outcome = Outcome(reading.group, said=shown.said, noted=[*job.noted.get(reading.group["GroupId"], ())])
            if changed == job.at_most and _would_change(job, reading):
                waiting += 1
                continue
            outcomes.append(outcome)
            try:
                _change(job, groups, writer, reading, outcome)  # plan, apply, record
            finally:
                job.withdraw(outcome)
            changed += bool(outcome.records)
            if number % 100 == 0:
                log.info("%s: looked at %d of %d groups", job.action.type, number, len(resources))
        for outcome in outcomes:  # after all are closed
            job.histories.note(outcome)
        _log(job, outcomes)
        unsent = notify_people(job, outcomes, event, waiting)
    except BaseException:  # somebody stops the run, or its time is over: what it has done is reported
        log.warning("%s: stopped; %d of %d groups were looked at", job.action.type, len(outcomes), len(resources))
        job.surroundings.looks = False
        _log(job, outcomes)
        notify_people(job, outcomes, event, waiting)
        report_to_config(manager, event)
        raise
    records = {outcome.group["GroupId"]: outcome.records for outcome in outcomes}
    for resource in resources:  # where later actions and their templates find them
        resource[job.deed.annotation] = records.get(resource["GroupId"], [])
    unreported = [*shown.missing, *unsent, *job.unmet()]
    failures = [*_failures(job, outcomes, resources), *unreported, *_still_open(job, waiting)]
    if failures:
        failures += report_to_config(manager, event)
        for failure in failures:
            log.error("%s: %s", job.action.type, failure)
        if unreported or not (waiting and is_tried_again(manager) and "notify" in job.action.data):
            more = f" (and {len(failures) - 1} more, see the log)" if len(failures) > 1 else ""
            raise PolicyExecutionError(f"{job.action.type}: {failures[0]}{more}")
        _leave_to_later_actions(resources, (each for each in outcomes if each.records and not each.failures))
    return [record for outcome in outcomes for record in outcome.records]


def _failures(job: Job, outcomes: Sequence[Outcome], resources: list[dict[str, Any]]) -> list[str]:
    """Return the failures of groups that fail the run; none if a preview has reported them.

    After such a preview, open-ingress-notice marks the reported groups alone. A group that somebody fixed or exempted
    meanwhile would be closed without notice once it is opened again. And if the preview failed, no group would get a
    mark: one that cannot be closed would keep all groups of an account open.
    """
    failures = [f"{outcome.group['GroupId']}: {text}" for outcome in outcomes for text in outcome.errors(job.deed)]
    if not (job.preview and "notify" in job.action.data):
        return failures
    for failure in failures:
        log.error("%s: %s", job.action.type, failure)
    _leave_to_later_actions(resources, (outcome for outcome in outcomes if outcome.is_reported))
    return []


def _leave_to_later_actions(resources: list[dict[str, Any]], outcomes: Iterable[Outcome]) -> None:
    """Leave only the groups of these outcomes to the actions after this one."""
    kept = {outcome.group["GroupId"] for outcome in outcomes}
    resources[:] = [resource for resource in resources if resource["GroupId"] in kept]


def _without_records(manager: Any) -> None:
    """Keep the records off the terminal of a local run. The log that has them has a handler of another type."""
    if journal.is_local(manager):
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:  # c7n's command makes it
                handler.addFilter(_is_no_record)


def _is_no_record(line: logging.LogRecord) -> bool:
    return line.name != journal.log.name


def _log(job: Job, outcomes: Iterable[Outcome]) -> None:
    """Log what was not changed, and why, as a message reports it; in a local run, also what became of each rule."""
    for outcome in outcomes:
        place = f"{job.action.type}: {outcome.group['GroupId']}"
        for text in [*outcome.left, *([outcome.skipped] if outcome.skipped else [])]:
            log.warning("%s: left alone: %s", place, text)
        for text in sorted(map(text_of, outcome.back)):
            log.info("%s: was back already: %s", place, text)
    if journal.is_local(job.action.manager):
        from c7n_ingress.decide.summary import table

        if lines := table(outcomes, job.deed, preview=job.preview):
            log.info("%s:\n%s", job.action.type, "\n".join(lines))


def _still_open(job: Job, waiting: int) -> list[str]:
    """Return that groups are left open, if any are, and what to do about it."""
    are = "group is" if waiting == 1 else "groups are"
    text = (
        f"{waiting} more {are} open: one run changes {job.at_most} (at-most), the worst first. Look at what is open, "
        "then run the policy again, or raise at-most"
    )
    return [text] if waiting else []


def _urgency(job: Job, groups: Collection[dict[str, Any]]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Return the key that sorts the groups, the worst first; c7n's ``or`` leaves them in no order.

    Groups that the internet can reach come first where not all may be changed; else that is looked up after the change.
    """
    behind = job.surroundings.of(groups) if job.at_most is not None and len(groups) > job.at_most else {}

    def key(group: dict[str, Any]) -> tuple[Any, ...]:
        group_id = group["GroupId"]
        exposure = rank(behind[group_id]["exposure"]) if behind else 0
        try:
            badness = worst(matches_from(group.get(MATCHED, ())))
        except Exception:  # the group fails and is reported when it is changed
            log.exception("%s: what is open cannot be read", group_id)
            badness = worst(())
        return exposure, badness, group_id

    return key


def _change(job: Job, groups: LiveGroups, writer: Any, reading: Reading | Unread, outcome: Outcome) -> None:
    """Change the rules of one group; a failure is reported, and the others go on."""
    group_id = reading.group["GroupId"]
    if isinstance(reading, Unread):
        log.error("%s: %s could not be read", job.action.type, group_id, exc_info=reading.error)
        known = isinstance(reading.error, ClientError)
        outcome.failures.append(f"could not be read: {said(reading.error) if known else repr(reading.error)}")
        return
    try:
        if (owner := reading.group["OwnerId"]) != job.action.manager.config.account_id:
            outcome.skipped = f"belongs to account {owner}, which shares its VPC: only that account can change it"
        elif job.preview:
            foresee(job, reading, outcome)
        else:
            settle(job, groups, writer, reading, outcome)
            if reading.selected and not (outcome.failures or outcome.left):
                job.after(outcome)
    except ClientError as error:
        if error_code(error) in GONE:
            outcome.until = None  # the tag was deleted with the group
        else:
            log.exception("%s: %s failed", job.action.type, group_id)
            outcome.failures.append(said(error))
    except Exception as error:  # reported and raised at the end
        log.exception("%s: %s failed", job.action.type, group_id)
        outcome.failures.append(f"could not be read: {error!r}" if isinstance(error, KeyError) else str(error))
    except BaseException as stop:
        outcome.failures.append(f"was not finished: {str(stop) or 'somebody stopped the run'}")
        raise


def _would_change(job: Job, reading: Reading | Unread) -> bool:
    """Whether a group may be changed now; what else is reported of it can be reported at any time."""
    if not (isinstance(reading, Reading) and reading.selected):
        return False
    with suppress(Exception):  # it is planned again when the group is to be changed, and the error is reported
        if reading.group["OwnerId"] == job.action.manager.config.account_id:
            plan = job.plan(reading)
            return bool(plan.changes or plan.missing)
    return False
