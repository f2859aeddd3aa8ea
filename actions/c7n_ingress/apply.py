"""Carry out a plan on one group: EC2's mutating calls and EC2's answers.

As a rule one call of each kind, first those that add, last those that take away. What was done is given out as soon as
EC2 has said so, so that nobody has to guess what a run that broke off has done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from c7n.exceptions import ClientError
from c7n.utils import chunks

from c7n_ingress.plan import Match, Plan, Replacement, Rule, Source
from c7n_ingress.rules import permission, rule_from, rule_request
from c7n_ingress.trace import Author, Tags, batches

GROUP_GONE = "InvalidGroup.NotFound"
NO_ROOM = "RulesPerSecurityGroupLimitExceeded"
CHANGED_MEANWHILE = frozenset(
    {"InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidPermission.Duplicate"}
)
EXPECTED = CHANGED_MEANWHILE | {GROUP_GONE, NO_ROOM}
THROTTLED = frozenset({"RequestLimitExceeded", "EC2ThrottledException"})
"""Error codes of EC2: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""

TAGGED_A_CALL = 1000
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html, ``ResourceId``"""

ATTEMPT = "response-received.ec2"
"""botocore's event after each attempt at a call, whatever came of it (``Endpoint._get_response``)."""


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
        self.in_doubt: Sequence[Change] = ()
        """What the last call may have changed though it ended in an error: an answer of EC2's was lost."""

    def apply(self, group_id: str, plan: Plan) -> Iterator[Change | NoRoom | Untraced]:
        """Carry out the plan, and give each change once it is made.

        :raises ClientError: EC2 said no; what has been given out by then has been done, and perhaps what is `in_doubt`.
        """
        self.in_doubt = ()
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
            if error_code(error) != NO_ROOM or self.in_doubt:
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
                if error_code(error) != NO_ROOM or self.in_doubt:
                    raise
                crowded.append(addition)
        return crowded

    def _authorize(self, group_id: str, additions: Sequence[Replacement]) -> Iterator[Change | Untraced]:
        call = self.client.authorize_security_group_ingress
        changes = [Change("authorized", None, rule, None, source) for rule, source in additions]
        request = {"GroupId": group_id, "IpPermissions": [permission(*addition) for addition in additions]}
        try:
            answer = self._call(call, changes, **request, **self._specification(additions))
        except ClientError as error:
            if not self.author or error_code(error) in EXPECTED or self.in_doubt:
                raise
            # It may be the tags that EC2 refuses, and letting people in must not wait for them.
            answer = self._call(call, changes, **request)
            yield Untraced(error)
        ids = {rule.match: rule.id for rule in map(rule_from, answer["SecurityGroupRules"])}
        for change, (rule, source) in zip(changes, additions, strict=True):
            yield change._replace(rule_id=ids.get(Match(rule.traffic, source)))

    def _specification(self, additions: Sequence[Replacement]) -> dict[str, Any]:
        if not self.author:
            return {}
        tags = _shape(self.author.added(additions))
        return {"TagSpecifications": [{"ResourceType": "security-group-rule", "Tags": tags}]}

    def _modify(self, group_id: str, replacements: Sequence[Replacement]) -> Iterator[Change]:
        changes = [Change("modified", rule.id, rule, rule.source, source) for rule, source in replacements]
        requests = [rule_request(*replacement) for replacement in replacements]
        if requests:
            call = self.client.modify_security_group_rules
            self._call(call, changes, GroupId=group_id, SecurityGroupRules=requests)
        yield from changes

    def _revoke(self, group_id: str, rules: Sequence[Rule]) -> Iterator[Change]:
        changes = [Change("revoked", rule.id, rule, rule.source, None) for rule in rules]
        ids = [rule.id for rule in rules]
        if ids:
            self._call(self.client.revoke_security_group_ingress, changes, GroupId=group_id, SecurityGroupRuleIds=ids)
        yield from changes

    def _call(self, call: Callable[..., Any], changes: Sequence[Change], **request: Any) -> Any:
        """Call EC2, and note what is in doubt if the answer to an attempt is lost and no later attempt succeeds.

        botocore tries again by itself, and so does c7n, so the error of the last attempt does not say what befell the
        others: it may well be that a rule is there already, because the first attempt has made it.
        """
        lost = []

        def note(exception: Exception | None, parsed_response: Mapping[str, Any] | None, **_: Any) -> None:
            if exception or (parsed_response and is_lost(parsed_response)):
                lost.append(exception)

        self.in_doubt = ()
        events = self.client.meta.events
        events.register(ATTEMPT, note)
        try:
            return self.retry(call, **request)
        except Exception as error:
            if lost or not isinstance(error, ClientError):
                self.in_doubt = changes
            raise
        finally:
            events.unregister(ATTEMPT, note)

    # -- tags

    def tag(self, ids: Sequence[str], tags: Tags) -> None:
        """Set tags on resources, but for those that are gone.

        :raises ClientError: EC2 said no.
        """
        for batch in chunks(ids, TAGGED_A_CALL):
            self._on_those_there(self.client.create_tags, batch, _shape(tags))

    def untag(self, ids: Sequence[str], keys: Iterable[str]) -> None:
        """Remove tags from resources, but for those that are gone.

        :raises ClientError: EC2 said no.
        """
        self._on_those_there(self.client.delete_tags, ids, [{"Key": key} for key in keys])

    def _on_those_there(self, call: Callable[..., Any], ids: Sequence[str], tags: Sequence[Mapping[str, str]]) -> None:
        """Tag all at once or, as EC2 refuses all if one of them is gone, in halves."""
        try:
            self.retry(call, Resources=ids, Tags=tags)
        except ClientError as error:
            if not error_code(error).endswith(".NotFound"):
                raise
            half = len(ids) // 2
            for part in (ids[:half], ids[half:]) if half else ():
                self._on_those_there(call, part, tags)


def _shape(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def is_lost(answer: Mapping[str, Any]) -> bool:
    """Tell whether an answer leaves open what came of the call: EC2 failed on its own side, and did not just refuse."""
    failed = answer["ResponseMetadata"]["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR
    return failed and answer.get("Error", {}).get("Code") not in THROTTLED


def as_they_stand(changes: Iterable[Change], rules: Iterable[Rule]) -> Iterator[Change]:
    """Give those of the changes that have come true, judged by the rules as they stand now; one added has its id."""
    by_id = {rule.id: rule for rule in rules}
    by_match = {rule.match: rule for rule in by_id.values()}
    for change in changes:
        if change.now is None:
            if change.rule_id not in by_id:
                yield change
            continue
        match = Match(change.rule.traffic, change.now)
        stands = by_id.get(change.rule_id) if change.rule_id else by_match.get(match)
        if stands and stands.match == match:
            yield change._replace(rule_id=stands.id)


def error_code(error: ClientError) -> str:
    """Give EC2's code for what went wrong."""
    return str(error.response["Error"]["Code"])
