"""The ``replace-ingress`` action."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from c7n.exceptions import PolicyExecutionError
from c7n.resolver import ValuesFrom
from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.action import LOOKS, NOTIFY_SCHEMA, IngressAction
from c7n_ingress.apply import NoRoom
from c7n_ingress.authorized import PLACEHOLDER, documentation, missing_versions, parse_list, refuse_documentation
from c7n_ingress.checks import check_filters
from c7n_ingress.live import Reading
from c7n_ingress.outcome import REPLACED, Outcome
from c7n_ingress.plan import Network, Plan, Replacement, plan
from c7n_ingress.rules import text_of
from c7n_ingress.trace import Tags, revoked

FINDERS = frozenset({"ingress", "open-prefix-list"})
"""The filters that annotate the rules that they match."""

FETCH_TIMEOUT = 30
"""How many seconds a server may keep the list of authorized networks to itself."""


@SecurityGroup.action_registry.register("replace-ingress")
class ReplaceIngress(IngressAction):
    """Put authorized networks in the place of the ingress rules that the policy's ``ingress`` filter matched.

    An open rule becomes a rule for the first authorized network of its family (IPv4 or IPv6), in place: its id, its
    tags and its description stay. Each further network gets a rule beside it. Where all of them stand already, or no
    network of the family is authorized, the open rule is revoked. Rules that the filter did not match stay as they are.
    A rule whose prefix list ``open-prefix-list`` matched cannot become one for a network: it is revoked once these have
    rules of their own.

    The group is read and filtered again just before, so that what has been closed or exempted in the meantime is left
    alone. What changed and what failed is logged, one JSON record a line, and told by ``notify``, which takes the keys
    of c7n's own ``notify`` action. If a group failed, the others are done all the same, and the action raises at the
    end.

    ``authorized`` is a list of CIDRs, in order of preference, or one ``"{name}"`` that c7n-org fills from an account's
    ``vars``. ``authorized-from`` takes the list from S3 or HTTP, as c7n's ``value_from`` does. ``preview: true`` tells
    what would change, and changes nothing.

    What was changed bears its trace, tags that begin with ``c7n-ingress:``, from which ``restore-ingress`` can undo it:
    on the rule, or on the group for a rule that was revoked. ``trace: false`` leaves none.

    :example:

    .. code-block:: yaml

        policies:
          - name: open-ssh
            resource: aws.security-group
            filters:
              - type: ingress
                Ports: [22]
                Cidr: 0.0.0.0/0
            actions:
              - type: replace-ingress
                authorized: [198.18.7.0/24]
                notify:
                  to: ["arn:{partition}:sns:{region}:{account_id}:open-ingress"]
                  template: open-ingress
                  transport: {type: sqs, queue: custodian-mailer}
    """

    schema = type_schema(
        "replace-ingress",
        **{
            "authorized": {"type": ["array", "string"]},  # validate says better than a schema what is wrong inside
            "authorized-from": ValuesFrom.schema,
            "preview": {"type": "boolean"},
            "trace": {"type": "boolean"},
            "notify": NOTIFY_SCHEMA,
        },
    )
    deed = REPLACED

    @property
    def trace(self) -> bool:
        """Whether what is done to rules leaves its trace in tags."""
        return bool(self.data.get("trace", True))

    # -- before anything runs

    def check(self) -> None:
        """Refuse a policy that could lock people out, let the internet in, or touch rules it did not mean to."""
        self.check_authorized()
        check_filters(self.manager.filters, FINDERS)

    def check_authorized(self) -> None:
        """Check where the authorized networks come from, and warn of a list that is unlikely to be meant."""
        if ("authorized" in self.data) == ("authorized-from" in self.data):
            raise ValueError(
                "give the authorized networks either as 'authorized' or as 'authorized-from', and not as both"
            )
        if "authorized-from" in self.data:
            self.validate_source(self.data["authorized-from"])
            return
        authorized = self.data["authorized"]
        if isinstance(authorized, str) and PLACEHOLDER.fullmatch(authorized):
            return  # c7n fills it only after it has validated the file
        networks = parse_list(authorized)
        for network in documentation(networks):
            self.log.warning("authorized %s is an example from the documentation: put your own network there", network)
        for version in missing_versions(networks):
            self.log.warning("no IPv%s network is authorized: open IPv%s rules will be revoked", version, version)

    def validate_source(self, source: Mapping[str, Any]) -> None:
        """Check what can be told of `authorized-from` before it is read."""
        url = source["url"]
        if url.startswith("file:") and "mode" in self.manager.data:
            raise ValueError(f"authorized-from {url!r}: a Lambda has no such file; put it into S3, or behind https")
        if "format" not in source and not url.endswith(tuple(f".{known}" for known in ValuesFrom.supported_formats)):
            raise ValueError(
                f"authorized-from {url!r}: the name does not say what it is; add 'format: txt', csv or json"
            )

    # -- the run

    def prepare(self) -> None:
        """Get the authorized networks, before anything is changed."""
        self.authorized = self.authorized_networks()

    def authorized_networks(self) -> list[Network]:
        """Give the authorized networks in order of preference, those from elsewhere by family and address.

        :raises PolicyExecutionError: they cannot be had, or must not be put into a rule.
        """
        try:
            networks = parse_list(self.data["authorized"]) if "authorized" in self.data else self.fetch_authorized()
            if not self.preview:
                refuse_documentation(networks)
        except ValueError as error:
            raise PolicyExecutionError(f"replace-ingress changed nothing: {error}") from error
        return networks

    def fetch_authorized(self) -> list[Network]:
        """Read ``authorized-from``. c7n gives most formats as a set, so the networks are put in an order."""
        source = self.data["authorized-from"]
        try:
            with socket_timeout(FETCH_TIMEOUT):
                values = ValuesFrom(source, self.manager).get_values()
        except Exception as error:  # whatever c7n, urllib, boto3 and the parsers raise: there is no list
            raise ValueError(f"authorized-from {source['url']} cannot be read: {error}") from error
        try:
            networks = parse_list(values)
        except ValueError as error:
            raise ValueError(f"authorized-from {source['url']}: {error}") from error
        return sorted(networks, key=lambda network: (network.version, network))

    def attempt(self, reading: Reading, outcome: Outcome) -> bool:
        """Replace the matched rules of one group."""
        todo = plan(reading.rules, reading.matches, self.authorized, reading.prefix_lists)
        settled = self.apply(todo, outcome)
        outcome.undone = left_undone(todo, settled=settled)
        outcome.left = [
            f"{text_of(rule.match)}: that prefix list cannot be read, so nobody knows whether it is open: have its "
            "owner share it with this account again, or revoke the rule"
            for rule in todo.unreadable
        ]
        return settled and not todo.missing

    def no_room(self, result: NoRoom) -> str:
        """Say which network is missing now, and what to do about it."""
        rule, network = result.replacement
        return (
            f"{network} found no room on {text_of(rule.match)}: the group has as many rules as EC2 allows; "
            "authorize fewer networks, or have the quota 'Inbound or outbound rules per security group' raised"
        )

    def finish(self, outcome: Outcome) -> None:
        """Leave the trace of what was changed, group by group; what was added bears its own since it was."""
        author = self.applier.author
        if not author or self.preview:
            return
        modified = [Replacement(c.rule, c.now) for c in outcome.changes if c.how == "modified" and c.now]
        for ids, tags in author.replaced(modified):
            self.tag(ids, tags, outcome)
        self.trace_revoked(outcome)

    def trace_revoked(self, outcome: Outcome) -> None:
        """Mark a group whose rules were revoked."""
        present = [tag["Key"] for tag in outcome.group.get("Tags", [])]
        tags, crowded = revoked((c.rule for c in outcome.changes if c.how == "revoked"), present)
        if tags:
            self.tag([outcome.group["GroupId"]], tags, outcome)
        outcome.failures += [
            f"{text_of(rule.match)} was revoked, but its trace found no room among the group's tags: restore-ingress "
            f"cannot bring it back{f', description {rule.description!r}' if rule.description else ''}"
            for rule in crowded
        ]

    def tag(self, ids: list[str], tags: Tags, outcome: Outcome) -> None:
        """Set tags. What cannot be marked has been closed all the same."""
        try:
            self.applier.tag(ids, tags)
        except Exception as error:  # told and raised at the end, as any failure
            self.log.exception("replace-ingress: the trace could not be left on %s", ", ".join(ids))
            outcome.failures.append(f"was changed, but bears no trace of it for restore-ingress: {error}")


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Have sockets made in the block give up after a while: c7n's request would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def left_undone(todo: Plan, *, settled: bool) -> list[str]:
    """Say what of the last plan could not be done."""
    failures = [f"{text_of(match)} matched, but EC2 lists no such rule" for match in todo.missing]
    failures += [
        f"{text_of(rule.match)}: no network can take the place of a reference; narrow the filter by Cidr or CidrV6"
        for rule in todo.references
    ]
    if not settled:
        failures.append(f"was changed by somebody else {LOOKS} times while it was being replaced")
    return failures
