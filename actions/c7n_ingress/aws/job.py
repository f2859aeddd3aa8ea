"""What an action does to groups, and what is looked up for it at most once a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from c7n.policy import LambdaMode

from c7n_ingress.aws.behind import Surroundings
from c7n_ingress.aws.brake import Brake
from c7n_ingress.aws.history import Histories
from c7n_ingress.aws.read import Reading
from c7n_ingress.decide.message import Deed, Outcome
from c7n_ingress.decide.plan import Plan, Replacement


def is_tried_again(manager: Any) -> bool:
    """Whether Lambda runs the policy twice more within minutes if it fails, as in all of c7n's deployed modes."""
    # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    return isinstance(manager.ctx.policy.get_execution_mode(), LambdaMode)


@dataclass
class Job:
    """What an action does to each group."""

    action: Any
    deed: Deed
    plan: Callable[[Reading], Plan]
    no_room: Callable[[Replacement, str], tuple[str, str | None]]
    """Returns which source is missing in a group now and what to do about it, and the command that does it."""
    before: Callable[[Outcome], None] = lambda _outcome: None
    """What is done to a group before anything else."""
    withdraw: Callable[[Outcome], None] = lambda _outcome: None
    """Reverts what `before` did, if nothing was changed after it."""
    after: Callable[[Outcome], None] = lambda _outcome: None
    """What is done to a group once it is closed, or restored."""
    at_most: int | None = None
    """How many groups the run may change; the worst come first."""
    brake: Brake | None = None
    """Limits the groups that all runs of an hour change together."""
    unmet: Callable[[], list[str]] = list
    """Returns what was not as planned and is not done: one sentence each."""
    noted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What people must know of a group that is changed, by its id: one sentence each."""

    def __post_init__(self) -> None:
        """Prepare what is looked up at most once."""
        self.histories, self.surroundings = Histories(self.action), Surroundings(self.action)

    @property
    def preview(self) -> bool:
        """Whether to report what would change and to change nothing."""
        return self.action.data.get("preview", False) is not False
