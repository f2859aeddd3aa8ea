"""Carry out a plan on one group: EC2's mutating calls and EC2's answers.

As a rule one call of each kind, first those that add, last those that take away. What was done is given out as soon as
EC2 has said so, so that nobody has to guess what a run that broke off has done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from c7n.exceptions import ClientError

from c7n_ingress.plan import Match, Plan, Replacement, Rule, Source
from c7n_ingress.rules import permission, rule_from, rule_request
from c7n_ingress.trace import Author, Tags, batches

GROUP_GONE = "InvalidGroup.NotFound"
NO_ROOM = "RulesPerSecurityGroupLimitExceeded"
CHANGED_MEANWHILE = frozenset(
    {"InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidPermission.Duplicate"}
)
EXPECTED = CHANGED_MEANWHILE | {GROUP_GONE, NO_ROOM}
"""Error codes of EC2: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""


class Change(NamedTuple):
    """Something that EC2 has done: ``was`` and ``now`` are sources, None where there is none."""

    how: str
    rule_id: str | None
    rule: Rule
    """The open rule that gave the reason, as it stood before."""
    was: Source | None
    now: Source | None


class NoRoom(NamedTuple):
    """A source for which the group has no room left."""

    replacement: Replacement


class Untraced(NamedTuple):
    """Rules were added, but without the tags of their trace."""

    error: ClientError


class Applier:
    """Carries out plans with one client.

    :param client: a boto3 client of EC2.
    :param retry: calls a client's method with arguments and tries again when EC2 throttles; c7n's own.
    :param author: who signs the rules that are added, if they are to bear a trace.
    """

    def __init__(self, client: Any, retry: Callable[..., Any], author: Author | None = None) -> None:
        self.client = client
        self.retry = retry
        self.author = author

    def apply(self, group_id: str, plan: Plan) -> Iterator[Change | NoRoom | Untraced]:
        """Carry out the plan, and give each change once it is made.

        :raises ClientError: EC2 said no; what has been given out by then has been done.
        """
        crowded: list[Replacement] = []
        # EC2 tags all rules of a request alike.
        for batch in batches(plan.authorize) if self.author else filter(None, [plan.authorize]):
            crowded += yield from self._authorize_what_fits(group_id, batch)
        yield from self._modify(group_id, plan.modify)
        yield from self._revoke(group_id, plan.revoke)
        if plan.revoke:  # has made room
            crowded = yield from self._authorize_singly(group_id, crowded)
        yield from map(NoRoom, crowded)

    def _authorize_what_fits(
        self, group_id: str, additions: Sequence[Replacement]
    ) -> Generator[Change | Untraced, None, list[Replacement]]:
        """Add all or, if there is not enough room, as much as there is room for, and return the rest."""
        try:
            yield from self._authorize(group_id, additions)
        except ClientError as error:
            if error_code(error) != NO_ROOM:
                raise
            return (yield from self._authorize_singly(group_id, additions))
        return []

    def _authorize_singly(
        self, group_id: str, additions: Iterable[Replacement]
    ) -> Generator[Change | Untraced, None, list[Replacement]]:
        """Add what finds room, in order, and return what does not. EC2 counts the rules of each family apart."""
        crowded: list[Replacement] = []
        for addition in additions:
            if type(addition.source) in {type(other.source) for other in crowded}:
                crowded.append(addition)
                continue
            try:
                yield from self._authorize(group_id, [addition])
            except ClientError as error:
                if error_code(error) != NO_ROOM:
                    raise
                crowded.append(addition)
        return crowded

    def _authorize(self, group_id: str, additions: Sequence[Replacement]) -> Iterator[Change | Untraced]:
        request = {"GroupId": group_id, "IpPermissions": [permission(*addition) for addition in additions]}
        try:
            answer = self.retry(
                self.client.authorize_security_group_ingress, **request, **self._specification(additions)
            )
        except ClientError as error:
            if not self.author or error_code(error) in EXPECTED or in_doubt(error):
                raise
            # It may be the tags that EC2 refuses, and letting people in must not wait for them.
            answer = self.retry(self.client.authorize_security_group_ingress, **request)
            yield Untraced(error)
        ids = {rule.match: rule.id for rule in map(rule_from, answer["SecurityGroupRules"])}
        for rule, source in additions:
            yield Change("authorized", ids.get(Match(rule.traffic, source)), rule, None, source)

    def _specification(self, additions: Sequence[Replacement]) -> dict[str, Any]:
        if not self.author:
            return {}
        tags = _shape(self.author.added(additions))
        return {"TagSpecifications": [{"ResourceType": "security-group-rule", "Tags": tags}]}

    def _modify(self, group_id: str, replacements: Sequence[Replacement]) -> Iterator[Change]:
        requests = [rule_request(*replacement) for replacement in replacements]
        if requests:
            self.retry(self.client.modify_security_group_rules, GroupId=group_id, SecurityGroupRules=requests)
        for rule, source in replacements:
            yield Change("modified", rule.id, rule, rule.source, source)

    def _revoke(self, group_id: str, rules: Sequence[Rule]) -> Iterator[Change]:
        ids = [rule.id for rule in rules]
        if ids:
            self.retry(self.client.revoke_security_group_ingress, GroupId=group_id, SecurityGroupRuleIds=ids)
        for rule in rules:
            yield Change("revoked", rule.id, rule, rule.source, None)

    # -- tags

    def tag(self, ids: Sequence[str], tags: Tags) -> None:
        """Set tags on resources, but for those that are gone.

        :raises ClientError: EC2 said no.
        """
        self._on_those_there(self.client.create_tags, ids, _shape(tags))

    def untag(self, ids: Sequence[str], keys: Iterable[str]) -> None:
        """Remove tags from resources, but for those that are gone.

        :raises ClientError: EC2 said no.
        """
        self._on_those_there(self.client.delete_tags, ids, [{"Key": key} for key in keys])

    def _on_those_there(self, call: Callable[..., Any], ids: Sequence[str], tags: Sequence[Mapping[str, str]]) -> None:
        """Tag all at once or, as EC2 refuses all if one of them is gone, one by one."""
        try:
            self.retry(call, Resources=ids, Tags=tags)
        except ClientError as error:
            if not error_code(error).endswith(".NotFound"):
                raise
            for each in ids if len(ids) > 1 else ():
                self._on_those_there(call, [each], tags)


def _shape(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def in_doubt(error: Exception) -> bool:
    """Tell whether the call that ended in this error may have taken effect all the same.

    So it is when an answer was lost on the way: the connection broke, or a retry of botocore's met what the first
    attempt had done, or EC2 failed on its own side.
    """
    if not isinstance(error, ClientError):
        return True
    answer = error.response["ResponseMetadata"]
    return bool(answer["RetryAttempts"] or answer["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR)


def took_effect(plan: Plan, rules: Iterable[Rule]) -> Iterator[Change]:
    """Give the plan's changes that have come true, judged by the rules as they stand now."""
    by_id = {rule.id: rule for rule in rules}
    by_match = {rule.match: rule for rule in by_id.values()}
    for rule, source in plan.authorize:
        if stands := by_match.get(Match(rule.traffic, source)):
            yield Change("authorized", stands.id, rule, None, source)
    for rule, source in plan.modify:
        if rule.id in by_id and by_id[rule.id].source == source:
            yield Change("modified", rule.id, rule, rule.source, source)
    for rule in plan.revoke:
        if rule.id not in by_id:
            yield Change("revoked", rule.id, rule, rule.source, None)


def error_code(error: ClientError) -> str:
    """Give EC2's code for what went wrong."""
    return str(error.response["Error"]["Code"])
