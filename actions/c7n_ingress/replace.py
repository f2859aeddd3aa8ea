"""The ``replace-ingress`` action."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from c7n.actions import EventAction
from c7n.exceptions import PolicyExecutionError, PolicyValidationError
from c7n.resolver import ValuesFrom
from c7n.resources.vpc import SecurityGroup
from c7n.utils import local_session, type_schema

from c7n_ingress.aws import behind, evidence, reopened, tell, vpcs
from c7n_ingress.aws.apply import NoRoom
from c7n_ingress.aws.job import Job
from c7n_ingress.aws.read import Reading
from c7n_ingress.aws.run import run
from c7n_ingress.decide.authorized import (
    PLACEHOLDER,
    cut_off,
    documentation,
    missing_versions,
    names_vpc,
    parse_fixed,
    parse_list,
    refuse_documentation,
    with_vpc,
)
from c7n_ingress.decide.checks import check_filled, check_filters, check_notify, check_values
from c7n_ingress.decide.commands import authorize_line
from c7n_ingress.decide.message import REPLACED, Outcome
from c7n_ingress.decide.plan import Plan, replacement
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import Network, permission, text_of

FINDERS = frozenset({"ingress", "open-ingress"})
"""The filters that annotate the rules that they match."""

FETCH_TIMEOUT = 30
"""How many seconds a server may keep the list of authorized networks to itself."""


@SecurityGroup.action_registry.register("replace-ingress")
class ReplaceIngress(EventAction):
    """Put authorized networks in the place of the ingress rules that the policy's ``ingress`` filter matched.

    An open rule becomes a rule for the first authorized network of its family (IPv4 or IPv6), in place: its id, its
    tags and its description stay. Each further network gets a rule beside it. Where all of them stand already, or no
    network of the family is authorized, the open rule is revoked. Rules that the filter did not match stay as they are,
    and so does one that every authorized network is wider than: that is a failure, and told. A rule whose prefix list
    ``open-ingress`` matched cannot become one for a network: it is revoked once these have rules of their own.

    Each group is read and filtered again within a second before it is changed, so that what has been closed, changed or
    exempted in the meantime is left alone. What changed and what failed is logged, one JSON record a line, and told by
    ``notify``, which takes the keys of c7n's own ``notify`` action. If a group failed, the others are done all the
    same, and the action raises at the end. The records are what ``restore-ingress`` undoes changes from.

    ``authorized`` is a list of CIDRs, in order of preference, or one ``"{name}"`` that c7n-org fills from an account's
    ``vars``. The word ``vpc`` in the list stands for the CIDRs of the group's own VPC, IPv4 and IPv6, so that clients
    and load balancers inside stay in; a group whose VPC cannot be read fails, and is left as it is. ``authorized-from``
    takes the list from S3 or HTTPS, as c7n's ``value_from`` does, without ``vpc``.

    ``at-most`` is how many groups may be changed in one run; the worst are, the others are told of, and the run fails.
    A deployed policy's run that has told of them by ``notify`` does not fail, be it that other groups did, as these are
    told of as well: Lambda would run it twice more within minutes, and close three times as many.
    ``preview: true`` tells what would change and what would fail, and changes nothing; it fails where nobody was told.
    ``behind: true`` has messages say what stands behind each group, and tell first of what the internet can reach: two
    calls more, after the changes. Where more groups are open than ``at-most``, it is looked up before, and these come
    first.

    ``evidence: {log-groups: [vpc-flow-logs], days: 14, seconds: 120}`` beside ``preview`` says of each rule who came in
    through it and would be cut off, and what it cost to read that: CloudWatch Logs Insights runs as few queries as hold
    the groups, on flow logs of the default format, until the seconds are over. Of another format it says that there are
    no records. It takes the permissions ec2:DescribeNetworkInterfaces, logs:StartQuery, logs:GetQueryResults and
    logs:StopQuery, which the stack's roles do not have: run it by hand.

    ``untag: open-ingress-notice`` takes that tag off each group as soon as nothing is open in it any more. An action
    ``remove-tag`` after this one would not be reached where another group fails.

    ``reopened: {times: 3, hours: 24}`` looks up in AWS Config how often each group that was closed had been opened;
    from the third time in 24 hours on, the message says so first. That is one call (GetResourceConfigHistory) for each
    closed group, after all are closed; if it fails, that is told. With ``then: tell`` besides, it is looked up before,
    and such a group is told of each time and left open, until it was opened less often. It takes a deployed policy
    (config-rule, periodic or cloudtrail), and AWS Config recording security groups.

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
            "at-most": {"type": "integer", "minimum": 1},
            "behind": {"type": "boolean"},
            "evidence": evidence.SCHEMA,
            "preview": {"type": "boolean"},
            "reopened": reopened.SCHEMA,
            "untag": {"type": "string", "minLength": 1},
            "notify": tell.SCHEMA,
        },
    )
    permissions = (
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSecurityGroupRules",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:ModifySecurityGroupRules",
        "ec2:RevokeSecurityGroupIngress",
    )

    def get_permissions(self) -> tuple[str, ...]:
        """Give what the action needs, its notification included."""
        needed: tuple[str, ...] = self.permissions
        if names_vpc(self.data.get("authorized")):
            needed += vpcs.PERMISSIONS
        if "notify" in self.data:
            needed += tuple(tell.notifier(self).get_permissions())
            needed += behind.PERMISSIONS if self.data.get("behind") else ()
        if "evidence" in self.data:
            needed += evidence.PERMISSIONS
        if "untag" in self.data:
            needed += ("ec2:DeleteTags",)
        return needed + (reopened.PERMISSIONS if "reopened" in self.data else ())

    # -- before anything runs

    def validate(self) -> None:
        """Refuse a policy that could lock people out, let the internet in, or touch rules it did not mean to.

        :raises PolicyValidationError: names the value and the mend.
        """
        try:
            check_values(self.data, self.schema)
            self.check_authorized()
            check_filters(self.manager.data.get("filters", []), FINDERS)
            for each in self.manager.iter_filters():
                if each.type in FINDERS:  # c7n checks nothing of its own ``ingress`` once variables have filled it
                    check_values(each.data, each.schema)
            if "reopened" in self.data:
                reopened.check_mode(self.manager.data.get("mode", {}).get("type"))
            if "evidence" in self.data:
                evidence.check_preview(self.data)
            if "notify" in self.data:
                check_notify(self.data["notify"])
                tell.notifier(self).validate()
        except ValueError as error:
            raise PolicyValidationError(f"policy {self.manager.data['name']}: replace-ingress: {error}") from None

    def check_authorized(self) -> None:
        """Check where the authorized networks come from, and warn of a list that is unlikely to be meant."""
        if ("authorized" in self.data) == ("authorized-from" in self.data):
            raise ValueError(
                "give the authorized networks either as 'authorized' or as 'authorized-from', and not as both"
            )
        if "authorized-from" in self.data:
            check_source(self.data["authorized-from"], in_lambda="mode" in self.manager.data)
            return
        authorized = self.data["authorized"]
        if isinstance(authorized, str) and PLACEHOLDER.fullmatch(authorized):
            return  # c7n fills it only after it has validated the file
        networks = parse_fixed(authorized)
        for network in documentation(networks):
            self.log.warning("authorized %s is an example from the documentation: put your own network there", network)
        if names_vpc(authorized):
            return
        for version in missing_versions(networks):
            self.log.warning("no IPv%s network is authorized: open IPv%s rules will be revoked", version, version)
        if warning := cut_off(networks):
            self.log.warning(warning)

    # -- the run

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[Record]:
        """Replace the matched rules of each group, and tell what changed and what failed.

        :returns: the records of all changes.
        :raises PolicyExecutionError: a group failed, or nobody could be told; the other groups are done by then. A
            preview that has told people of what would fail does not raise.
        """
        try:
            authorized = self.authorized_networks()
        except PolicyExecutionError as error:
            raise PolicyExecutionError("; ".join([str(error), *tell.tell_config(self.manager, event)])) from error

        of_vpc = self.networks_by_vpc(resources)

        def plan(reading: Reading) -> Plan:
            wanted = of_vpc[reading.group["VpcId"]] if of_vpc else authorized
            if isinstance(wanted, str):
                return Plan(refused=[f"{wanted}; the group is left as it is"] if reading.matches else [])
            return replacement(reading.rules, reading.matches, wanted, reading.prefix_lists)

        at_most = None if self.data.get("preview") else self.data.get("at-most")
        after = self.untag if "untag" in self.data else None
        return run(Job(self, REPLACED, plan, no_room, after=after, at_most=at_most), resources, event)

    def untag(self, outcome: Outcome) -> None:
        """Take the tag off a group that is closed: whatever becomes of the others, what opens it anew gets notice."""
        client = local_session(self.manager.session_factory).client("ec2")
        tags = [{"Key": self.data["untag"]}]
        self.manager.retry(client.delete_tags, Resources=[outcome.group["GroupId"]], Tags=tags)

    def authorized_networks(self) -> list[Network]:
        """Give the authorized networks in order of preference, those from elsewhere by family and address.

        Those that ``vpc`` stands for are not among them.

        :raises PolicyExecutionError: they cannot be had, or must not be put into a rule.
        """
        try:
            check_filled(self.data, but=["authorized"])
            check_filled(self.manager.data.get("filters", []), path="filters")
            networks = parse_fixed(self.data["authorized"]) if "authorized" in self.data else self.fetch_authorized()
            if not self.data.get("preview"):
                refuse_documentation(networks)
        except ValueError as error:
            raise PolicyExecutionError(f"replace-ingress changed nothing: {error}") from error
        return networks

    def networks_by_vpc(self, groups: Iterable[Mapping[str, Any]]) -> dict[str, list[Network] | str]:
        """Give what is authorized in each VPC, where it is not the same in all; or why that is not known."""
        values = self.data.get("authorized")
        if not names_vpc(values):
            return {}
        client = local_session(self.manager.session_factory).client("ec2")
        cidrs = vpcs.cidrs_of(client, {group["VpcId"] for group in groups})
        return {vpc_id: in_vpc(values, vpc_id, of_vpc) for vpc_id, of_vpc in cidrs.items()}

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


def in_vpc(values: Iterable[object], vpc_id: str, cidrs: Sequence[str] | str) -> list[Network] | str:
    """Give what is authorized in a VPC, or why that is not known: a sentence, as its CIDRs may be one."""
    if isinstance(cidrs, str):
        return cidrs
    try:
        return with_vpc(values, cidrs)
    except ValueError as error:
        return f"the networks of {vpc_id} cannot be authorized: {error}"


def check_source(source: Mapping[str, Any], *, in_lambda: bool) -> None:
    """Check what can be told of ``authorized-from`` before it is read.

    :raises ValueError: names the value and the mend.
    """
    url = source["url"]
    if url.startswith("file:") and in_lambda:
        raise ValueError(f"authorized-from {url!r}: a Lambda has no such file; put it into S3, or behind https")
    if url.startswith("http:"):
        raise ValueError(f"authorized-from {url!r}: whoever is on the way could write the list; use https or S3")
    if "format" not in source and not url.endswith(tuple(f".{known}" for known in ValuesFrom.supported_formats)):
        raise ValueError(f"authorized-from {url!r}: the name does not say what it is; add 'format: txt', csv or json")


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Have sockets made in the block give up after a while: c7n's request would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def no_room(result: NoRoom, group_id: str) -> tuple[str, str]:
    """Say which network is missing now, and give the line that adds it once there is room.

    Once closed the group no longer matches, so that no later run adds the network.
    """
    rule, network = result.replacement
    request = {"GroupId": group_id, "IpPermissions": [permission(rule.traffic, network)]}
    return (
        f"{network} found no room on {text_of(rule.match)}: the group had as many rules as EC2 allows. If it still "
        "has, have the quota for inbound rules of a group (L-0EA8095F) raised, or remove rules; then run its line"
    ), authorize_line(request)
