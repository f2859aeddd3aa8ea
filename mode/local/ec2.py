"""Security groups that behave as EC2's do, where moto's do not: what this project knows of EC2, as a program.

A group holds rules. A rule is one source on one protocol and port range in one direction, and has an id of its own;
`DescribeSecurityGroups` shows the rules bundled into permissions, `DescribeSecurityGroupRules` one by one. A call that
changes rules works out the new rules first and puts them in place last, so that it changes all or nothing.

Where a fact comes from is said beside it:

- [API]: EC2's API reference, which botocore carries as `data/ec2/2016-11-15/service-2.json.gz`
- [errors]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
- [quotas]: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html and, for prefix lists,
  https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html
- [alchemy]: live tests in github.com/alchemy-run/alchemy, `DefaultSecurityGroup.test.ts`, and the errors that they met,
  https://github.com/alchemy-run/distilled/pull/608
- [terraform]: issues of github.com/hashicorp/terraform-provider-aws, by number
- [moto]: moto's own answers, which were taken from EC2
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from threading import RLock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.core.utils import aws_api_matches
from moto.ec2 import urls
from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidPermissionNotFoundError,
    InvalidSecurityGroupNotFoundError,
    InvalidSecurityGroupRuleIdNotFoundError,
    MissingParameter,
    RulesPerSecurityGroupLimitExceededError,
)
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.responses import EC2Response
from moto.ec2.utils import random_security_group_rule_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mode.local.throttling import Throttling

Json = dict[str, Any]


@dataclass
class Behaviour:
    """What EC2 leaves to the account, or to chance."""

    rules_per_group: int = 60
    """The quota [quotas]: rules a direction, IPv4 and IPv6 counted apart."""

    lag: int = 0
    """How many describes of a group, after a change, still show it as it was: EC2 is eventually consistent."""

    throttling: Throttling | None = None
    """The token buckets that calls are taken from, if they are to run dry."""

    def reset(self) -> None:
        """Behave as EC2 does by default."""
        self.__init__()


behaviour = Behaviour()


def install() -> None:
    """Have moto serve these security groups from now on. moto must hold no EC2 yet."""
    ec2_backends.backend = Backend


def load_groups(groups: Iterable[Mapping[str, Any]], region: str = "us-east-1", account: str = "123456789012") -> None:
    """Put groups into EC2 as they are, in the shape that `aws ec2 describe-security-groups` prints.

    Ids stay, quotas are not asked, and what a rule refers to need not be there. A group goes to the account that its
    `OwnerId` names, else to the given one, and takes the place of one with the same id; lists may be absent or null.
    """
    for group in groups:
        backend = ec2_backends[group.get("OwnerId") or account][region]
        loaded = Group(
            backend,
            group["GroupId"],
            group.get("GroupName") or group["GroupId"],
            group.get("Description") or "",
            group.get("VpcId"),
            {tag["Key"]: tag["Value"] for tag in group.get("Tags") or ()},
        )
        loaded.rules = (
            *rules_from(group.get("IpPermissions") or (), egress=False),
            *rules_from(group.get("IpPermissionsEgress") or (), egress=True),
        )
        backend.groups[loaded.vpc_id][loaded.id] = loaded


# ---- What a rule is


PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "all": "-1"}
WITH_PORTS = {"tcp", "udp", "icmp", "icmpv6"}

# A permission's lists: the field that names the source there, and the name of the source's kind elsewhere.
SOURCES = {
    "IpRanges": ("CidrIp", "CidrIpv4"),
    "Ipv6Ranges": ("CidrIpv6", "CidrIpv6"),
    "PrefixListIds": ("PrefixListId", "PrefixListId"),
    "UserIdGroupPairs": ("GroupId", "ReferencedGroupId"),
}
KINDS = [kind for _, kind in SOURCES.values()]


@dataclass(frozen=True)
class Rule:
    """One source on one protocol and port range in one direction. -1 means all ports, or all ICMP types or codes."""

    egress: bool
    protocol: str
    from_port: int
    to_port: int
    kind: str
    source: str
    description: str | None = None
    peer: Mapping[str, str] = field(default_factory=dict)  # what is told of a referenced group besides its id
    id: str = field(default_factory=random_security_group_rule_id)

    @property
    def identity(self) -> tuple:
        """What no other rule of the group has: all but id, description and tags."""
        return self.egress, self.protocol, self.from_port, self.to_port, self.kind, self.source


def rules_from(permissions: Iterable[Mapping[str, Any]], *, egress: bool) -> Iterator[Rule]:
    """Read permissions, in the shape of [API] IpPermission. Raises what EC2 says to a malformed one."""
    for permission in permissions:
        traffic = traffic_from(permission)
        for listing, (name, kind) in SOURCES.items():
            for source in permission.get(listing) or ():
                peer = {key: value for key, value in source.items() if value and key not in (name, "Description")}
                description = source.get("Description") or None
                yield Rule(egress, *traffic, kind, canonical(kind, source[name]), description, peer)


def traffic_from(request: Mapping[str, Any]) -> tuple[str, int, int]:
    """Read protocol and ports of an [API] IpPermission or SecurityGroupRuleRequest.

    [API]: protocols have a name (tcp, udp, icmp, icmpv6) or a number; EC2 tells of 6 as tcp and of 58 as icmpv6
    [alchemy]. For any other than these four, and for -1, ports that are given do not count; icmpv6 may leave them out.
    """
    if not request.get("IpProtocol"):
        raise InvalidParameterValue(  # [moto]
            "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly."
        )
    protocol = str(request["IpProtocol"]).lower()
    protocol = PROTOCOLS.get(protocol, protocol)
    if protocol not in WITH_PORTS:
        if not re.fullmatch(r"-1|\d{1,3}", protocol):
            raise InvalidParameterValue(f"Invalid value '{protocol}' for IP protocol. Unknown protocol.")
        return protocol, -1, -1
    ports = request.get("FromPort"), request.get("ToPort")
    if None in ports:
        if protocol == "icmpv6":
            return protocol, -1, -1
        raise InvalidParameterValue(  # [moto]
            "Invalid value for portRange. Must specify both from and to ports with TCP/UDP."
        )
    return protocol, *map(int, ports)


def canonical(kind: str, source: str) -> str:
    """Give a CIDR without host bits, IPv6 in its short form: EC2 stores 100.68.0.18/18 as 100.68.0.0/18 [API] IpRange."""
    family = {"CidrIpv4": IPv4Network, "CidrIpv6": IPv6Network}.get(kind)
    if not family:
        return source
    try:
        if not re.search(r"/\d+$", source):
            raise ValueError(source)  # noqa: TRY301 - Python reads an address without a prefix length as a network, EC2 does not
        return str(family(source, strict=False))
    except ValueError:
        raise InvalidParameterValue(f"CIDR block {source} is malformed") from None


# ---- What may become of a group's rules. Each takes the rules as they are and gives them as they will be, or raises


Rules = tuple[Rule, ...]


def with_added(rules: Rules, added: Rules) -> Rules:
    """Add rules: all of them or, if one is there already, none.

    [API] IpRange: a CIDR that is there in canonical form is a duplicate. A description makes no difference [errors].
    """
    refuse_repetition(added)  # [terraform] 2587
    there = {rule.identity for rule in rules}
    for rule in added:
        if rule.identity in there:
            raise duplicate(rule)
    return rules + added


def with_modified(rules: Rules, updates: Iterable[Mapping[str, Any]]) -> Rules:
    """Turn rules into what [API] ModifySecurityGroupRules asks for: all of them or none. Ids stay, and tags with them."""
    by_id = {rule.id: rule for rule in rules}
    turned: dict[str, Rule] = {}
    for update in updates:
        rule_id = update["SecurityGroupRuleId"]
        if rule_id in turned:
            raise InvalidParameterValue(f"Duplicated security group rule ID '{rule_id}'.")
        # An id that is gone [alchemy], or another group's, or none.
        if rule_id not in by_id:
            raise InvalidSecurityGroupRuleIdNotFoundError(rule_id)
        turned[rule_id] = modified(by_id[rule_id], update.get("SecurityGroupRule") or {})
    refuse_repetition(turned.values())
    untouched = {rule.identity for rule in rules if rule.id not in turned}
    for rule in turned.values():
        if rule.identity in untouched:
            raise duplicate(rule)
    return tuple(turned.get(rule.id, rule) for rule in rules)


def modified(rule: Rule, request: Mapping[str, Any]) -> Rule:
    """Give the rule as a request, [API] SecurityGroupRuleRequest, has it.

    The request replaces all that it can say: a description that it leaves out is cleared [alchemy]. It cannot change the
    type of the source. CIDRs with host bits are refused: the reference says that they are canonicalized, which holds for
    authorizing, but EC2 was seen to refuse them here [alchemy].
    """
    kinds = [kind for kind in KINDS if request.get(kind)]
    if len(kinds) > 1:
        raise InvalidParameterCombination(  # [moto]
            "Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be specified"
        )
    if not kinds:
        raise MissingParameter(  # [moto]
            "The request must contain exactly one of: cidrIp, cidrIpv6, prefixListId, or referencedGroupId"
        )
    (kind,) = kinds
    if kind != rule.kind:
        raise InvalidParameterValue(  # [moto]; [API]: "you cannot change the rule type"
            f"Invalid rule type for security group rule '{rule.id}'. "
            f"You may not specify {kind} for an existing {rule.kind} rule."
        )
    traffic = traffic_from(request)
    refuse_ports_without_meaning(traffic[0], request)
    source = canonical(kind, request[kind])
    if source != canonical(kind, request[kind].lower()) or network_part(request[kind]) != network_part(source):
        raise InvalidParameterValue(f"CIDR block {request[kind]} is not canonical")
    peer = rule.peer if source == rule.source else {}
    return replace(
        rule,
        **dict(zip(("protocol", "from_port", "to_port"), traffic, strict=True)),
        source=source,
        peer=peer,
        description=request.get("Description") or None,
    )
