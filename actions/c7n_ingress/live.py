"""Read security groups as they are now, past every cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.query import DescribeSource, QueryResourceManager, sources
from c7n.utils import local_session

from c7n_ingress.plan import Match, Rule
from c7n_ingress.rules import matches_from, prefix_lists_from, rule_from

GROUPS_A_CALL = 200
"""How many values EC2 takes in one filter of a describe call.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
"""

PAGE_SIZE = 1000
"""The most items that EC2 gives in one answer (``MaxResults`` of both describe calls)."""

MATCHED = "MatchedIpPermissions"
"""Where c7n's ``ingress`` filters leave what they matched."""


class Reading(NamedTuple):
    """A group that the policy's filters match, what they matched in it, and all of its ingress rules."""

    group: Mapping[str, Any]
    matches: set[Match]
    rules: Sequence[Rule]
    prefix_lists: Mapping[str, int | None]
    """The IP version of each prefix list that was found open, by id; None for one that cannot be read."""


class LiveGroups:
    """Security groups as EC2 tells of them at this moment.

    An event's item can be minutes old, and what c7n has listed is cached for a quarter of an hour.

    :param manager: c7n's resource manager of the policy, for its filters.
    :param client: a boto3 client of EC2.
    """

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self.client = client

    def matching(self, group_ids: Iterable[str], event: dict[str, Any] | None) -> list[Reading]:
        """Read those of the groups (200 at most) that exist and still match the policy's filters."""
        group_ids = list(group_ids)
        groups = self.manager.filter_resources(self.groups(group_ids), event)
        groups.sort(key=lambda group: group_ids.index(group["GroupId"]))  # c7n's "or" gives them in no order
        rules = self.rules(group["GroupId"] for group in groups)
        return [_reading(group, rules[group["GroupId"]]) for group in groups]

    def groups(self, group_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Read those of the groups (200 at most) that exist."""
        # By filter: the parameter GroupIds fails whole if one of the groups has been deleted.
        return list(self._describe("describe_security_groups", "SecurityGroups", group_ids))

    def rules(self, group_ids: Iterable[str]) -> Mapping[str, list[Rule]]:
        """Read the ingress rules of the groups (200 at most), by group id."""
        rules = defaultdict(list)
        for shape in self._describe("describe_security_group_rules", "SecurityGroupRules", group_ids):
            if not shape["IsEgress"]:
                rules[shape["GroupId"]].append(rule_from(shape))
        return rules

    def _describe(self, operation: str, key: str, group_ids: Iterable[str]) -> Iterator[dict[str, Any]]:
        values = list(group_ids)
        if values:
            yield from pages(self.client, operation, key, PAGE_SIZE, Filters=[{"Name": "group-id", "Values": values}])


@sources.register("live")
class LiveSource(DescribeSource):  # type: ignore[misc]  # c7n ships no types
    """Where a policy with ``source: live`` gets the groups that an event names: from EC2, or not at all.

    c7n takes whatever error EC2 answers with for "there is no such group": it warns, and the event is lost. Here a
    group that has been deleted is no error, and any other error is one: the Lambda fails, and is tried again.
    """

    def get_resources(self, ids: list[str], cache: bool = True) -> list[dict[str, Any]]:  # noqa: ARG002, FBT001, FBT002 - c7n's
        """Read the groups of an event.

        :raises PolicyExecutionError: EC2 did not tell.
        """
        client = local_session(self.manager.session_factory).client("ec2")
        try:
            return LiveGroups(self.manager, client).groups(ids)
        except ClientError as error:
            raise PolicyExecutionError(f"groups {', '.join(ids)} could not be read: {error}") from error


def _reading(group: Mapping[str, Any], rules: Sequence[Rule]) -> Reading:
    matched = group.get(MATCHED, [])
    return Reading(group, matches_from(matched), rules, prefix_lists_from(matched))


def pages(client: Any, operation: str, key: str, size: int, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Give the items of all pages, each page tried again when EC2 throttles.

    A paginator of botocore's would read EC2's pagination model first, which takes as long as an answer.
    """
    call, arguments = getattr(client, operation), {**arguments, "MaxResults": size}
    while True:
        page = QueryResourceManager.retry(call, **arguments)
        yield from page[key]
        if not page.get("NextToken"):
            return
        arguments["NextToken"] = page["NextToken"]
