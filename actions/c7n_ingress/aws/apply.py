"""Carry out a plan on one group: EC2's mutating calls and EC2's answers.

Usually that is one call of each kind, first those that add, last those that remove. What a call has done is returned
as soon as EC2 has answered, so that it is known what a run has done that was stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

from c7n.exceptions import ClientError

from c7n_ingress.aws.calls import CHANGED_MEANWHILE, GONE, NO_LIST, NO_ROOM, THROTTLED, error_code
from c7n_ingress.aws.read import Reading
from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Change
from c7n_ingress.decide.rules import Match, Rule, Source, matches_from, permission, rule_from, rule_request


class StaleError(Exception):
    """The reading is too old for the group to be changed on it."""


class OutdatedError(Exception):
    """Somebody has changed the group since it was read, or EC2 does not know it at this moment."""


class ThrottledError(Exception):
    """EC2 accepts no more calls at the moment; this one has changed nothing."""


class _RefusedError(Exception):
    """EC2 added nothing: the group has no room, or a prefix list does not exist. It has EC2's code."""


class Unmade(NamedTuple):
    """What EC2 did not add."""

    replacement: Replacement
    has_room: bool
    """Whether the group had room for it: then its prefix list does not exist."""


class LostError(Exception):
    """EC2's answer was lost: EC2 may have made the changes."""

    def __init__(self, changes: Sequence[Change], cause: Exception) -> None:
        super().__init__(f"EC2's answer was lost: {cause}")
        self.changes = changes


def apply(
    client: Any, reading: Reading, plan: Plan, full: Mapping[tuple[str, Source], Replacement] = MappingProxyType({})
) -> Iterator[list[Change] | Unmade]:
    """Carry out the plan, and return the changes of each call once it has made them, and what EC2 did not add.

    :param client: a boto3 client of EC2 that calls once.
    :param full: for what there was no room before, by its key; it is tried again only when something has been removed.
    :raises StaleError, OutdatedError, ThrottledError, LostError: the group must be read and planned again. What has
        been returned before has been done.
    """
    call = _Caller(client, reading)
    crowded = list(full.values())
    for tags, additions in _by_tags(addition for addition in plan.authorize if addition.key not in full):
        for result in call.authorize_what_fits(additions, tags):
            if isinstance(result, Unmade) and not result.has_room:
                crowded.append(result.replacement)
            yield result
    yield from call.modify(plan.modify)
    yield from call.revoke(plan.revoke)
    if plan.revoke:  # has made room
        for tags, additions in _by_tags(crowded):
            yield from call.authorize_what_fits(additions, tags)


def _by_tags(additions: Iterable[Replacement]) -> Iterator[tuple[tuple[tuple[str, str], ...], list[Replacement]]]:
    """Group additions by the tags of their rules: EC2 gives all rules of a request the same tags.

    A rule that is added beside another has no tags; one that is restored has those that it had.
    """
    by_tags = defaultdict(list)
    for addition in additions:
        comes_back = addition.source == addition.rule.source
        by_tags[addition.rule.tags if comes_back else ()].append(addition)
    yield from by_tags.items()


class _Caller(NamedTuple):
    """Calls EC2 for one group, and only on a fresh reading."""

    client: Any
    reading: Reading

    def authorize_what_fits(
        self, additions: Sequence[Replacement], tags: Iterable[tuple[str, str]]
    ) -> Iterator[list[Change] | Unmade]:
        """Add all or, if EC2 refuses that, one by one in order.

        Each network takes one place among those of its family. So if one finds no room, the others are not tried.
        """
        try:
            made = self.authorize(additions, tags)
        except _RefusedError as refused:
            code = str(refused)
        else:
            yield made
            return
        if len(additions) == 1:
            yield Unmade(additions[0], has_room=code != NO_ROOM)
            return
        full: set[int] = set()
        for addition in additions:
            family = None if isinstance(addition.source, str) else addition.source.version
            if family in full:
                yield Unmade(addition, has_room=False)
                continue
            for result in self.authorize_what_fits([addition], tags):
                if family and isinstance(result, Unmade):
                    full.add(family)
                yield result

    def authorize(self, additions: Sequence[Replacement], tags: Iterable[tuple[str, str]]) -> list[Change]:
        """Add rules."""
        changes = [Change("authorized", None, rule, None, source) for rule, source in additions]
        request: dict[str, Any] = {
            "IpPermissions": [permission(rule.traffic, source, rule.description) for rule, source in additions]
        }
        if own := [{"Key": key, "Value": value} for key, value in tags if not key.startswith("aws:")]:
            request["TagSpecifications"] = [{"ResourceType": "security-group-rule", "Tags": own}]
        answer = self._call(self.client.authorize_security_group_ingress, changes, request)
        ids = {rule.match: rule.id for rule in map(rule_from, answer["SecurityGroupRules"])}
        matches = (Match(rule.traffic, source) for rule, source in additions)
        return [change._replace(rule_id=ids.get(match)) for change, match in zip(changes, matches, strict=True)]

    def modify(self, replacements: Sequence[Replacement]) -> Iterator[list[Change]]:
        """Change rules in place."""
        if replacements:
            changes = [Change("modified", rule.id, rule, rule.source, source) for rule, source in replacements]
            request = {"SecurityGroupRules": [rule_request(*replacement) for replacement in replacements]}
            self._call(self.client.modify_security_group_rules, changes, request)
            yield changes

    def revoke(self, rules: Sequence[Rule]) -> Iterator[list[Change]]:
        """Remove rules by what they let in, not by their ids: so EC2 compares and removes in one step."""
        if rules:
            changes = [Change("revoked", rule.id, rule, rule.source, None) for rule in rules]
            request = {"IpPermissions": [permission(*rule.match) for rule in rules]}
            answer = self._call(self.client.revoke_security_group_ingress, changes, request)
            # In a default VPC, EC2 lists the rules that do not exist; elsewhere it answers with an error.
            unknown = {rule.match for rule in rules} & matches_from(answer.get("UnknownIpPermissions", ()))
            yield [change for change in changes if change.rule.match not in unknown]
            if unknown:
                raise OutdatedError

    def _call(self, call: Callable[..., Any], changes: Sequence[Change], request: dict[str, Any]) -> Any:
        if not self.reading.is_fresh:
            raise StaleError
        try:
            return call(GroupId=self.reading.group["GroupId"], **request)
        except ClientError as error:
            code = error_code(error)
            if code in CHANGED_MEANWHILE | GONE:
                raise OutdatedError from error
            if code in THROTTLED:
                raise ThrottledError(str(error)) from error
            if code == NO_ROOM or code in NO_LIST:
                raise _RefusedError(code) from error
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise LostError(changes, error) from error
            raise
        except Exception as error:  # a broken connection, half an answer: the call may have been carried out
            raise LostError(changes, error) from error
        except BaseException as stop:  # somebody stops the run while EC2 is at work
            stop.changes = changes  # type: ignore[attr-defined]
            raise
