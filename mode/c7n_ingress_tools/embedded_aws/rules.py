"""Security group rules as EC2 has them: what a rule is, how a group's rules may change, and how EC2 describes them.

A rule is one source on one protocol and port range in one direction, and has an id of its own. A change takes the rules
as they are and returns them as they will be, or raises EC2's error. So all of it happens, or nothing.

Each fact has its source beside it:

- [API]: EC2's API reference, which botocore carries as `data/ec2/2016-11-15/service-2.json.gz`
- [errors]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
- [alchemy]: live tests in github.com/alchemy-run/alchemy, `DefaultSecurityGroup.test.ts`, and the errors that they met,
  https://github.com/alchemy-run/distilled/pull/608
- [terraform]: an issue of github.com/hashicorp/terraform-provider-aws, by number
- [moto]: moto's answer, with EC2's own words
- [logs]: seen in many public logs
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidParameterValue,
    InvalidSecurityGroupRuleIdNotFoundError,
)
from moto.ec2.utils import random_security_group_rule_id

from c7n_ingress.decide.rules import ICMP, PROTOCOL_NAMES, WITH_PORTS

Shape = Mapping[str, Any]
"""A structure of EC2's API, as botocore has it."""

ALL = -1
"""All ports, or all ICMP types, or all codes of a type."""

LAST_PORT, LAST_ICMP_NUMBER, LAST_PROTOCOL = 65535, 255, 255
"""The largest that there is. ICMP has numbers for types, and for codes."""

SOURCES = {
    "IpRanges": ("CidrIp", "CidrIpv4"),
    "Ipv6Ranges": ("CidrIpv6", "CidrIpv6"),
    "PrefixListIds": ("PrefixListId", "PrefixListId"),
    "UserIdGroupPairs": ("GroupId", "ReferencedGroupId"),
}
"""The lists of a permission: the field that names the source there, and how rules name a source of this kind."""

LISTED = {kind: (listing, name) for listing, (name, kind) in SOURCES.items()}
NETWORKS = {"CidrIpv4": IPv4Network, "CidrIpv6": IPv6Network}


@dataclass(frozen=True)
class Rule:
    """One rule of a group, which has no equal rules: the description, the peer and the id do not count.

    `kind` is the source's name in SecurityGroupRuleRequest. `peer` has the fields of a source group, except its id.
    """

    egress: bool
    protocol: str
    from_port: int
    to_port: int
    kind: str
    source: str
    description: str | None = field(default=None, compare=False)
    peer: Shape = field(default_factory=dict, compare=False)
    id: str = field(default_factory=random_security_group_rule_id, compare=False)


Rules = tuple[Rule, ...]


# How a group's rules may change


def with_added(rules: Rules, added: Rules) -> Rules:
    """Add rules: all of them, or none if one exists already [errors].

    CIDRs are compared in their canonical form ([API] IpRange). Descriptions are not compared.
    """
    _refuse(added, rules)
    return rules + added


def with_modified(rules: Rules, updates: Iterable[Shape]) -> Rules:
    """Change rules as [API] ModifySecurityGroupRules does: all of them or none.

    Ids stay, and so do tags. An id that is gone [alchemy], or that is another group's, is not found.
    """
    requests = {update["SecurityGroupRuleId"]: update.get("SecurityGroupRule", {}) for update in updates}
    _refuse_unknown(requests, rules)
    turned = {rule.id: _modified(rule, requests[rule.id]) for rule in rules if rule.id in requests}
    _refuse(turned.values(), (rule for rule in rules if rule.id not in turned))
    return tuple(turned.get(rule.id, rule) for rule in rules)


def without(rules: Rules, ids: Iterable[str], *, egress: bool) -> Rules:
    """Remove rules of one direction: all of them, or none if one does not exist [alchemy]."""
    gone = set(ids)
    _refuse_unknown(gone, (rule for rule in rules if rule.egress == egress))
    return tuple(rule for rule in rules if rule.id not in gone)


def _modified(rule: Rule, request: Shape) -> Rule:
    """Return the rule as [API] SecurityGroupRuleRequest has it. Without a description, the rule has none [alchemy].

    A source cannot become one of another kind [API]. Ports that a protocol does not have are refused, while authorizing
    ignores them: the text for -1 is this call's [logs], the text for numbers is that of
    UpdateSecurityGroupRuleDescriptions [terraform] 14756. Host bits are refused. The reference says that CIDRs are
    canonicalized, as AuthorizeSecurityGroupIngress does, but EC2 refused them here [alchemy].
    """
    kinds = [kind for kind in LISTED if request.get(kind)]
    if kinds != [rule.kind]:
        raise InvalidParameterValue(  # [moto]
            f"Invalid rule type for security group rule '{rule.id}'. "
            f"You may not specify {', '.join(kinds)} for an existing {rule.kind} rule."
        )
    protocol, from_port, to_port = _traffic(request)
    if protocol == "-1" and (request.get("FromPort", ALL), request.get("ToPort", ALL)) != (ALL, ALL):
        raise InvalidParameterValue(
            "You may not specify all protocols and specific ports. Please specify each protocol and port range "
            "combination individually, or all protocols and no port range."
        )
    if protocol not in {*WITH_PORTS, "-1"} and "FromPort" in request:
        raise InvalidParameterValue(f"When protocol is {protocol}, you cannot specify from-port.")
    source = canonical(rule.kind, request[rule.kind], strict=True)
    return replace(
        rule,
        protocol=protocol,
        from_port=from_port,
        to_port=to_port,
        source=source,
        description=request.get("Description") or None,
        peer=rule.peer if source == rule.source else {},
    )


def _refuse(arriving: Collection[Rule], present: Iterable[Rule]) -> None:
    """Refuse rules that EC2 does not take, or not beside those that are present.

    A request must not have the same rule twice [terraform] 2587. A description has 255 characters at most, of those in
    EC2's error [logs]. The text for a rule that exists is EC2's, too [logs].
    """
    if len(set(arriving)) < len(arriving):
        raise InvalidParameterValue("The same permission must not appear multiple times")
    there = set(present)
    for rule in arriving:
        if not re.fullmatch(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}", rule.description or ""):
            raise InvalidParameterValue(
                "Invalid rule description. Valid descriptions are strings less than 256 characters from the following "
                "set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
            )
        if rule in there:
            ports = "" if rule.from_port == ALL else f"from port: {rule.from_port}, to port: {rule.to_port}, "
            protocol = "ALL" if rule.protocol == "-1" else rule.protocol.upper()
            raise EC2ClientError(
                "InvalidPermission.Duplicate",
                f'the specified rule "peer: {rule.source}, {protocol}, {ports}ALLOW" already exists',
            )


def _refuse_unknown(ids: Iterable[str], rules: Iterable[Rule]) -> None:
    for rule_id in set(ids) - {rule.id for rule in rules}:
        raise InvalidSecurityGroupRuleIdNotFoundError(rule_id)


# How requests name rules


def rules_from(permissions: Iterable[Shape], *, egress: bool) -> Iterator[Rule]:
    """Return the rules of permissions, [API] IpPermission. Lists may be absent or null."""
    for permission in permissions:
        traffic = _traffic(permission)
        for listing, (name, kind) in SOURCES.items():
            for source in permission.get(listing) or ():
                peer = {key: value for key, value in source.items() if value and key not in (name, "Description")}
                description = source.get("Description") or None
                yield Rule(egress, *traffic, kind, canonical(kind, source[name]), description, peer)


def canonical(kind: str, source: str, *, strict: bool = False) -> str:
    """Return a CIDR as EC2 stores it: 100.68.0.18/18 becomes 100.68.0.0/18 ([API] IpRange), IPv6 gets its short form.

    `strict` refuses host bits. A source of another kind is returned as it is.
    """
    if kind not in NETWORKS:
        return source
    if re.fullmatch(r"[\da-fA-F:.]+/\d+", source, re.ASCII):
        with suppress(ValueError):
            return str(NETWORKS[kind](source, strict=strict))
    raise InvalidParameterValue(f"CIDR block {source} is malformed")


def _traffic(request: Shape) -> tuple[str, int, int]:
    """Return the protocol, the first port and the last, or the ICMP type and code.

    EC2 has names for four protocols, and takes their numbers, too. The others have numbers only [alchemy]. They and -1
    are open on all ports, whatever the request has. icmpv6 without ports means all, and a rule for all ICMP types is
    for all codes ([API] IpPermission). The texts are EC2's: for protocols [terraform] 1793, for ports
    https://github.com/aws/aws-cli/issues/1066, for ICMP
    https://github.com/terraform-aws-modules/terraform-aws-security-group/issues/7.
    """
    if not request.get("IpProtocol"):
        raise InvalidParameterValue(  # [moto]
            "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly."
        )
    protocol = str(request["IpProtocol"]).lower()
    protocol = PROTOCOL_NAMES.get(protocol, protocol)
    first, last = request.get("FromPort"), request.get("ToPort")
    if protocol not in WITH_PORTS:
        if not re.fullmatch(r"-1|\d{1,3}", protocol, re.ASCII) or int(protocol) > LAST_PROTOCOL:
            raise InvalidParameterValue(f"Invalid value '{protocol}' for IP protocol. Unknown protocol.")
        return protocol, ALL, ALL
    if protocol == "icmpv6" and None in (first, last):
        return protocol, ALL, ALL
    if first is None or last is None:
        raise InvalidParameterValue(  # [moto]
            "Invalid value for portRange. Must specify both from and to ports with TCP/UDP."
        )
    if protocol in ICMP:
        codes_of_all_types = first == ALL != last
        wrong = {
            f"ICMP type ({first}) out of range": not ALL <= first <= LAST_ICMP_NUMBER,
            f"ICMP code ({last}) out of range": not ALL <= last <= LAST_ICMP_NUMBER or codes_of_all_types,
        }
    else:
        wrong = {
            f"TCP/UDP (from) port ({first}) out of range": not 0 <= first <= LAST_PORT,
            f"TCP/UDP (to) port ({last}) out of range": not 0 <= last <= LAST_PORT,
            f"Invalid TCP/UDP port range ({first}:{last})": first > last,
        }
    for says, is_wrong in wrong.items():
        if is_wrong:
            raise InvalidParameterValue(says)
    return protocol, first, last


# How EC2 describes rules


def permissions_of(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Return rules as [API] IpPermission, bundled by protocol and ports.

    Permissions for -1 and for protocols without a name have no ports: see the answers that github.com/ansible/ansible
    and github.com/cloudquery/cloudquery recorded.
    """
    permissions: dict[tuple[str, int, int], dict[str, Any]] = {}
    for rule in rules:
        ports = {"FromPort": rule.from_port, "ToPort": rule.to_port} if rule.protocol in WITH_PORTS else {}
        empty = {"IpProtocol": rule.protocol, **ports, **{listing: [] for listing in SOURCES}}
        permission = permissions.setdefault((rule.protocol, rule.from_port, rule.to_port), empty)
        listing, name = LISTED[rule.kind]
        permission[listing].append({name: rule.source, **rule.peer, **_described(rule)})
    return list(permissions.values())


def shape_of(rule: Rule) -> dict[str, Any]:
    """Return what [API] SecurityGroupRule and RevokedSecurityGroupRule share. Here all ports are -1 [alchemy]."""
    return {
        "SecurityGroupRuleId": rule.id,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        rule.kind: rule.source,
        **_described(rule),
    }


def _described(rule: Rule) -> dict[str, str]:
    return {"Description": rule.description} if rule.description else {}
