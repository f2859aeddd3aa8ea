"""The one way of all groups through an action: read, plan, apply, record, tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.utils import backoff_delays, local_session

from c7n_ingress.aws import journal
from c7n_ingress.aws.apply import (
    GONE,
    ONCE,
    LostError,
    NoRoom,
    OutdatedError,
    StaleError,
    ThrottledError,
    apply,
    come_true,
    error_code,
)
from c7n_ingress.aws.job import Job
from c7n_ingress.aws.read import MATCHED, OLDEST, LiveGroups, Reading, Unread, uncollected
from c7n_ingress.aws.tell import tell, tell_config
from c7n_ingress.decide.behind import rank
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.plan import Plan, Replacement, carried_out
from c7n_ingress.decide.records import Change, Record
from c7n_ingress.decide.rules import Match, matches_from, text_of
from c7n_ingress.decide.severity import worst

log = logging.getLogger("custodian.actions")

LOOKS = 3
"""How often a group is read and planned anew while somebody else changes it, or EC2's answers are lost."""

MOST_STALE = 10
"""How often a group is read again without any change, as planning or EC2 took longer than a reading may be old."""

LONGEST_DELAY = 128
"""How many seconds EC2 is left alone at most before a throttled call is tried again; c7n's own retry has as many."""


@uncollected()
def run(job: Job, resources: list[dict[str, Any]], event: dict[str, Any] | None) -> list[Record]:
    """Change the rules of each group that still matches, and tell what changed and what failed.

    :returns: the records of all changes.
    :raises PolicyExecutionError: a group failed, or nobody could be told; the other groups are done by then. A preview
        that has told people of what would fail does not raise.
    """
    manager = job.action.manager
    session = local_session(manager.session_factory)
    groups = LiveGroups(manager, session.client("ec2"), event)
    writer = session.client("ec2", config=ONCE)
    outcomes: list[Outcome] = []
    changed = waiting = 0
    try:
        worst_first = sorted(resources, key=_urgency(job, resources))
        for number, reading in enumerate(groups.in_lots(worst_first), 1):  # read
            if changed == job.at_most and _would_change(job, reading):
                waiting += 1
                continue
            outcomes.append(Outcome(reading.group))
            _change(job, groups, writer, reading, outcomes[-1])  # plan, apply, record
            changed += bool(outcomes[-1].records)
            if number % 100 == 0:
                log.info("%s: looked at %d of %d groups", job.action.type, number, len(resources))
        job.evidence.note(outcomes)
        for outcome in outcomes:  # after all are closed
            job.histories.note(outcome)
    except BaseException:  # somebody stops the run: what it has done by then is told all the same
        tell(job, outcomes, event, waiting)
        raise
    records = {outcome.group["GroupId"]: outcome.records for outcome in outcomes}
    for resource in resources:  # where later actions and their templates find them
        resource[job.deed.annotation] = records.get(resource["GroupId"], [])
    failures = _failures(job, outcomes)
    failures += tell(job, outcomes, event, waiting)
    if waiting:
        failures.append(
            f"{waiting} more groups are open: at-most {job.at_most} are changed at once, the worst first. Look at "
            "them, then run the policy again, or raise at-most"
        )
    if failures:
        failures += tell_config(manager, event)
        for failure in failures:
            log.error("%s: %s", job.action.type, failure)
        more = f" (and {len(failures) - 1} more, see the log)" if len(failures) > 1 else ""
        raise PolicyExecutionError(f"{job.action.type}: {failures[0]}{more}")
    return [record for outcome in outcomes for record in outcome.records]


def _failures(job: Job, outcomes: Iterable[Outcome]) -> list[str]:
    """Give what failed of groups, for the run to fail of it.

    A preview that tells people of it does not fail: in open-ingress-notice the other groups would get no mark, so that
    one group that cannot be closed would keep all of an account open.
    """
    failures = [f"{outcome.group['GroupId']}: {text}" for outcome in outcomes for text in outcome.failures]
    if not (job.preview and "notify" in job.action.data):
        return failures
    for failure in failures:
        log.error("%s: %s", job.action.type, failure)
    return []


def _urgency(job: Job, groups: Collection[dict[str, Any]]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Give by what the groups are put in an order, the worst first; c7n's ``or`` leaves them in none.

    What the internet can reach comes first where not all can be changed at once; else it is looked up after the change.
    """
    behind = job.surroundings.of(groups) if job.at_most is not None and len(groups) > job.at_most else {}

    def key(group: dict[str, Any]) -> tuple[Any, ...]:
        group_id = group["GroupId"]
        exposure = rank(behind[group_id]["exposure"]) if behind else 0
        return exposure, worst(matches_from(group.get(MATCHED, ()))), group_id

    return key


def _change(job: Job, groups: LiveGroups, writer: Any, reading: Reading | Unread, outcome: Outcome) -> None:
    """Change the rules of one group; whatever fails is told, and the others go on."""
    group_id, owner = reading.group["GroupId"], reading.group["OwnerId"]
    if isinstance(reading, Unread):
        log.error("%s: %s could not be read", job.action.type, group_id, exc_info=reading.error)
        outcome.failures.append(f"could not be read: {reading.error!r}")
        return
    try:
        if owner != job.action.manager.config.account_id:
            outcome.skipped = f"belongs to account {owner}, which shares its VPC: only that account can change it"
        elif job.preview:
            _foresee(job, reading, outcome)
        elif reading.selected and job.histories.hands_off(outcome, reading.matches):
            outcome.skipped = "is left open: the policy says 'then: tell' of a group that is opened again and again"
        else:
            _Settling(job, groups, writer, outcome).settle(reading)
    except ClientError as error:
        if error_code(error) not in GONE:
            log.exception("%s: %s failed", job.action.type, group_id)
            outcome.failures.append(str(error))
    except Exception as error:  # told and raised at the end
        log.exception("%s: %s failed", job.action.type, group_id)
        outcome.failures.append(str(error))


def _would_change(job: Job, reading: Reading | Unread) -> bool:
    """Tell whether a group may be changed now; what else is to be told of it can be told at any time."""
    own = reading.group["OwnerId"] == job.action.manager.config.account_id
    if not (own and isinstance(reading, Reading) and reading.selected):
        return False
    plan = job.plan(reading)
    return bool(plan.changes or plan.missing)


def _foresee(job: Job, reading: Reading, outcome: Outcome) -> None:
    """Record what would be done."""
    for _ in range(LOOKS):
        plan = job.plan(reading)
        outcome.left = plan.left
        for rule, source in plan.authorize:
            _record(job, outcome, Change("preview", None, rule, None, source))
        for rule, source in plan.modify:
            _record(job, outcome, Change("preview", rule.id, rule, rule.source, source))
        for rule in plan.revoke:
            _record(job, outcome, Change("preview", rule.id, rule, rule.source, None))
        if not plan.changes or not plan.look_again:
            break
        reading = reading._replace(rules=carried_out(reading.rules, plan))
    outcome.failures += plan.refused


def _record(job: Job, outcome: Outcome, change: Change) -> None:
    journal.write(job.action.manager, outcome, change, job.deed.hows.get(change.how, change.how))


class _Settling:
    """Plans and applies until one group is as it should be, or has changed under our hands too often."""

    def __init__(self, job: Job, groups: LiveGroups, writer: Any, outcome: Outcome) -> None:
        self.job = job
        self.groups = groups
        self.writer = writer
        self.outcome = outcome
        self.delays = backoff_delays(1, LONGEST_DELAY, jitter=True)
        self.stale = 0
        """How often in a row nothing was changed because the reading had grown old."""
        self.made: list[Change] = []
        self.full: list[Replacement] = []
        """What found no room so far."""
        self.doubtful: list[Change] = []
        """What EC2 may have done though its answer was lost."""

    def settle(self, reading: Reading) -> None:
        """Change the group; whatever stops that, what was done, perhaps done and not done is noted."""
        try:
            self.change(reading)
        except BaseException as stop:
            self.doubtful += getattr(stop, "changes", ())
            raise
        finally:
            for change in self.doubtful:
                _record(self.job, self.outcome, change._replace(how=f"perhaps {change.how}"))
            for text, command in (self.job.no_room(NoRoom(each), self.outcome.group["GroupId"]) for each in self.full):
                self.outcome.failures.append(text)
                self.outcome.todo += [command] if command else []

    def change(self, reading: Reading) -> None:
        """Plan and apply, and look again as often as it needs."""
        looks, why = 0, None
        while True:
            for change in come_true(self.doubtful, reading.rules):
                self.record(change)
            plan = self.planned(reading)
            if looks == LOOKS or not (plan.changes or plan.missing):
                break
            why = self.attempt(reading, plan)
            if why is None:
                why = ""
                break
            if why:
                looks += 1
                time.sleep(looks)  # EC2's answers may lag behind a change
            found = self.groups.read([reading.group["GroupId"]])
            if not found:  # deleted meanwhile
                self.full, self.doubtful = [], []
                return
            (again,) = found
            if isinstance(again, Unread):
                raise again.error
            reading = again
        self.doubtful = []  # has been looked for, and has not been done
        self.outcome.left = plan.left
        self.outcome.failures += plan.refused
        if why and not self.full and (plan.changes or plan.missing):
            self.outcome.failures.append(why)

    def planned(self, reading: Reading) -> Plan:
        """Plan; what is still owed, where a rule was removed, is added though the group is closed by now."""
        plan = self.job.plan(reading) if reading.selected else Plan()
        if any(change.now is None for change in self.made):
            standing = {rule.match for rule in reading.rules}
            owed = [each for each in self.full if Match(each.rule.traffic, each.source) not in standing]
            self.full = []
            plan = plan._replace(authorize=list(dict.fromkeys([*plan.authorize, *owed])))
        return plan

    def attempt(self, reading: Reading, plan: Plan) -> str | None:
        """Apply a plan, and record each change once it is made.

        :returns: why the group has to be looked at again; nothing if only the reading was old or EC2 throttled; None
            if it has not.
        """
        before = len(self.made)
        try:
            if plan.changes and self.job.before:
                self.job.before(self.outcome)
            self.apply(reading, plan)
        except StaleError:
            self.stale = self.stale + 1 if len(self.made) == before else 0
            if self.stale > MOST_STALE:
                raise PolicyExecutionError(
                    f"EC2 answers so slowly that no reading is younger than {OLDEST:g} s when the group is changed"
                ) from None
            return ""
        except ThrottledError as error:
            if (delay := next(self.delays, None)) is None:
                raise PolicyExecutionError(str(error)) from error
            time.sleep(delay)
            return ""
        except OutdatedError:
            return f"was changed by somebody else {LOOKS} times while it was being {self.job.deed.done}"
        except LostError as error:
            self.doubtful += error.changes
            return str(error)
        if plan.missing:
            return f"{text_of(plan.missing[0])} matched, but EC2 lists no such rule"
        return "does not show what was changed" if plan.look_again else None

    def apply(self, reading: Reading, plan: Plan) -> None:
        """Apply a plan once, and note what found no room."""
        for result in apply(self.writer, reading, plan, self.full):
            if isinstance(result, NoRoom):
                self.full += [result.replacement] if result.replacement not in self.full else []
            else:
                self.record(result)

    def record(self, change: Change) -> None:
        """Record a change, once."""
        self.doubtful = [other for other in self.doubtful if not _is_same(other, change)]
        self.full = [each for each in self.full if (each.rule.id, each.source) != (change.rule.id, change.now)]
        if not any(_is_same(other, change) for other in self.made):
            self.made.append(change)
            _record(self.job, self.outcome, change)


def _is_same(change: Change, other: Change) -> bool:
    return (change.rule.id, change.rule.traffic, change.now) == (other.rule.id, other.rule.traffic, other.now)
