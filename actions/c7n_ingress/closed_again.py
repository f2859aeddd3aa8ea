"""The ``closed-again`` filter."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from c7n.exceptions import PolicyExecutionError
from c7n.filters import Filter
from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.aws import journal
from c7n_ingress.decide.checks import check_filled
from c7n_ingress.decide.reopened import LONGEST, REOPENED, apart, sentence


@SecurityGroup.filter_registry.register("closed-again")
class ClosedAgain(Filter):  # type: ignore[misc]  # c7n ships no types
    """Match security groups that deployed policies closed several times: something opens them again and again.

    ``log-groups`` are those of the policies' functions, whose records say so; ``times`` is how often a group must have
    been closed in the last ``hours``, a minute apart at least. It takes ``logs:FilterLogEvents`` on these log groups.

    :example:

    .. code-block:: yaml

        policies:
          - name: open-ingress-again
            resource: aws.security-group
            source: live
            filters:
              - {type: closed-again, times: 3, hours: 24, log-groups: [/aws/lambda/custodian-open-ingress]}
    """

    schema = type_schema(
        "closed-again",
        required=["times", "hours", "log-groups"],
        **{
            "times": {"type": "integer", "minimum": 2},
            "hours": {"type": "integer", "minimum": 1, "maximum": LONGEST},
            "log-groups": journal.LOG_GROUPS,
        },
    )
    permissions = ("logs:FilterLogEvents",)

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:  # noqa: ARG002 - c7n's
        """Give the groups that were closed so often, each with a sentence that says so.

        :raises ClientError: a log group cannot be read. That is not to be taken for "none".
        :raises PolicyExecutionError: a value was not filled.
        """
        try:
            check_filled(self.data)
        except ValueError as error:
            raise PolicyExecutionError(f"closed-again looked for nothing: {error}") from None
        since = datetime.now(timezone.utc) - timedelta(hours=self.data["hours"])
        closings = journal.closings(self.manager, self.data["log-groups"], since)
        closed = {group_id: apart(times) for group_id, times in closings.items()}
        again = [group for group in resources if len(closed.get(group["GroupId"], ())) >= self.data["times"]]
        for group in again:
            group[REOPENED] = sentence(closed[group["GroupId"]])
        return again
