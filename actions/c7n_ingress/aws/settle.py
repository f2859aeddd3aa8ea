"""One group, from its reading to its last change: plan, apply, record, and look again where the group was changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from c7n.exceptions import PolicyExecutionError
from c7n.utils import backoff_delays

from c7n_ingress.aws import journal
from c7n_ingress.aws.apply import LostError, OutdatedError, StaleError, ThrottledError, Unmade, apply
from c7n_ingress.aws.job import Job
from c7n_ingress.aws.read import OLDEST, LiveGroups, Reading, Unread
from c7n_ingress.decide.ledger import Ledger
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.plan import Plan, carried_out
from c7n_ingress.decide.records import Change
from c7n_ingress.decide.rules import Match, text_of

LOOKS = 3
"""How often a group is read and planned again while somebody else changes it, or while answers of EC2 are lost."""
MOST_STALE = 10
"""How often a group is read again because something took longer than a reading may be old."""
TOO_SLOW = (
    f"the reading was older than {OLDEST:g} s before the group could be changed, each time: EC2, a filter of the "
    "policy or this machine is too slow"
)
LONGEST_DELAY = 128
"""The most seconds before a throttled call is tried again, as in c7n's own retry."""


def foresee(job: Job, reading: Reading, outcome: Outcome) -> None:
    """Record what would be done."""
    outcome.back = job.plan(reading).back
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


def settle(job: Job, groups: LiveGroups, writer: Any, reading: Reading, outcome: Outcome) -> None:
    """Change the group, and note what was done, perhaps done and not done, even if something stops that.

    :param writer: a boto3 client of EC2 that calls once.
    """
    settling = _Settling(job, groups, writer, outcome)
    ledger = settling.ledger
    try:
        settling.settle(reading)
    except BaseException as stop:
        ledger.doubt(getattr(stop, "changes", ()))
        raise
    finally:
        for change in ledger.doubtful:
            _record(job, outcome, change._replace(how=f"perhaps {change.how}"))
        for text, command in (job.no_room(each, outcome.group["GroupId"]) for each in ledger.full.values()):
            outcome.lacking.append(text)
            outcome.todo += [command] if command else []


def _record(job: Job, outcome: Outcome, change: Change) -> None:
    journal.write(job.action.manager, outcome, change, job.deed.hows.get(change.how, change.how))


@dataclass
class _Settling:
    """Plans and applies until one group is as it should be, or somebody else has changed it too often."""

    job: Job
    groups: LiveGroups
    writer: Any
    outcome: Outcome
    ledger: Ledger = field(default_factory=Ledger)
    delays: Iterator[float] = field(default_factory=partial(backoff_delays, 1, LONGEST_DELAY, jitter=True))
    stale: int = 0
    """How often in a row nothing was changed because the reading was too old."""

    def settle(self, reading: Reading) -> None:
        """Plan and apply, and look again as often as it needs."""
        looks, why = 0, None
        while True:
            for change in self.ledger.come_true(reading.rules):
                self.record(change)
            plan = self.ledger.to_try(self.job.plan(reading) if reading.selected else Plan(), reading.rules)
            made = {Match(change.rule.traffic, change.now) for change in self.ledger.made if change.now is not None}
            self.outcome.back = [match for match in plan.back if match not in made]  # before this run restored anything
            if looks == LOOKS or not (plan.changes or plan.missing):
                if self.outcome.back:
                    self.job.before(self.outcome)
                break
            why = self.attempt(reading, plan)
            if why is None:
                break
            if why:
                looks += 1
                time.sleep(looks)  # EC2 may not show a change at once
            found = self.groups.read([reading.group["GroupId"]])
            if not found:  # deleted meanwhile
                self.ledger.full.clear()
                self.ledger.drop_doubtful()
                self.outcome.until = None
                return
            (again,) = found
            if isinstance(again, Unread):
                raise again.error
            reading = again
        self.ledger.drop_doubtful()  # it was looked for
        gone = map(text_of, (each.rule.match for each in self.ledger.without_list.values()))
        self.outcome.left = [*plan.left, *(f"{text}: its prefix list does not exist any more" for text in gone)]
        self.outcome.failures += plan.refused
        if why and (plan.missing or self.ledger.without_full(plan).changes):
            self.outcome.failures.append(why)

    def attempt(self, reading: Reading, plan: Plan) -> str | None:
        """Apply a plan, and record each change once it is made.

        :returns: why the group has to be looked at again, or an empty text if only the reading was old or EC2
            throttled; None if the group need not be looked at again.
        """
        before = self.ledger.settled
        try:
            if plan.changes:
                self.job.before(self.outcome)
            self.apply(reading, plan)
        except StaleError:
            self.stale = self.stale + 1 if self.ledger.settled == before else 0
            if self.stale > MOST_STALE:
                raise PolicyExecutionError(TOO_SLOW) from None
            return ""
        except ThrottledError as error:
            if (delay := next(self.delays, None)) is None:
                raise PolicyExecutionError(str(error)) from error
            time.sleep(delay)
            return ""
        except OutdatedError:
            return f"was changed by somebody else {LOOKS} times while it was being {self.job.deed.done}"
        except LostError as error:
            self.ledger.doubt(error.changes)
            return str(error)
        if plan.missing:
            return f"{text_of(plan.missing[0])} matched, but EC2 lists no such rule"
        return "does not show what was changed" if plan.look_again else None

    def apply(self, reading: Reading, plan: Plan) -> None:
        """Apply a plan once, and note what EC2 did not add."""
        for result in apply(self.writer, reading, plan, {} if self.ledger.made_room else self.ledger.full):
            if isinstance(result, Unmade):
                self.ledger.enter_refused(result.replacement, has_room=result.has_room)
                continue
            self.ledger.doubt(result)  # until they are recorded: somebody may stop the run before
            for change in result:
                self.record(change)

    def record(self, change: Change) -> None:
        """Record a change, once, before it counts as made."""
        if self.ledger.is_news(change):
            _record(self.job, self.outcome, change)
        self.ledger.enter(change)
