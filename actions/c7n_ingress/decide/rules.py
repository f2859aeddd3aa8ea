"""Ingress rules, and EC2's shapes of them made comparable with each other.

EC2 has two shapes of the same rule. ``DescribeSecurityGroups`` lists permissions, on which Cloud Custodian's filters
work; ``DescribeSecurityGroupRules`` lists rules, which have ids. They differ in how they write "all ports".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NamedTuple, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Source: TypeAlias = Network | str
"""Text is the id of a prefix list or of another group."""

PROTOCOL_NAMES = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
WITH_PORTS = frozenset(PROTOCOL_NAMES.values())
ICMP = frozenset({"icmp", "icmpv6"})
ALL = "-1"
"""The protocol of a rule for all traffic."""

ALL_PORTS = (0, 65535)

FINDERS = frozenset({"ingress", "open-ingress"})
"""The filters that annotate the rules that they match."""

NETWORKS = {"IpRanges": "CidrIp", "Ipv6Ranges": "CidrIpv6"}
"""Where a permission lists its networks, and the key of each."""

MAYBE_OPEN = {**NETWORKS, "PrefixListIds": "PrefixListId"}
"""The same for all sources that may be open to the internet."""

SOURCES = {**MAYBE_OPEN, "UserIdGroupPairs": "GroupId"}
"""The same for all sources.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
"""

VERSIONS = {"IPv4": 4, "IPv6": 6}
PREFIX_LISTS = "c7n-ingress:prefix-lists"
"""Where the filter `open-ingress` notes on a group which prefix lists are open.

By id, it has the IP version of the list; why EC2 did not list its entries; or None for a list that EC2 does not show.
"""

UNREADABLE = "c7n-ingress:unreadable"
"""Where that filter notes why it cannot read a group."""


class Traffic(NamedTuple):
    """What a rule lets in: the protocol's name or number, and the ports (for ICMP the type and code), -1 for all."""

    protocol: str
    from_port: int
    to_port: int


class Match(NamedTuple):
    """What a policy's filter found: traffic, and a source that it is open to. EC2 has one such rule a group at most."""

    traffic: Traffic
    source: Source


class Rule(NamedTuple):
    """An ingress rule as it is in EC2."""

    id: str
    traffic: Traffic
    source: Source
    description: str | None
    tags: tuple[tuple[str, str], ...] = ()
    """Keys and values."""

    @property
    def match(self) -> Match:
        """What makes the rule the only one of its kind in its group."""
        return Match(self.traffic, self.source)


# -- reading EC2's shapes


def rule_from(shape: Mapping[str, Any]) -> Rule:
    """Read an item of ``DescribeSecurityGroupRules``."""
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
    cidr = shape.get("CidrIpv4") or shape.get("CidrIpv6")
    source = network(cidr) if cidr else shape.get("PrefixListId")
    source = source or shape["ReferencedGroupInfo"]["GroupId"]
    tags = tuple((tag["Key"], tag["Value"]) for tag in shape.get("Tags") or ())
    return Rule(shape["SecurityGroupRuleId"], traffic(shape), source, shape.get("Description"), tags)


def matches_from(permissions: Iterable[Mapping[str, Any]]) -> set[Match]:
    """Read permissions, such as those that Cloud Custodian's ``ingress`` filters annotated."""
    return {Match(traffic(shape), source) for shape in permissions for source in _sources(shape)}


def _sources(permission: Mapping[str, Any]) -> Iterator[Source]:
    for listing, key in SOURCES.items():
        read = network if listing in NETWORKS else str
        yield from (read(each[key]) for each in permission.get(listing) or ())


@lru_cache(maxsize=4096)
def network(cidr: str) -> Network:
    """Read a CIDR as EC2 stores it: without host bits."""
    return ip_network(cidr, strict=False)


def source_from(text: str) -> Source:
    """Read a source as a record has it: a network, or the id of a prefix list."""
    return text if text.startswith("pl-") else network(text)


def traffic(shape: Mapping[str, Any]) -> Traffic:
    """Read protocol and ports of either shape.

    EC2 names four protocols and numbers the others; a protocol other than these four, and ``-1``, is open on
    all ports, even if the rule names ports (``IpPermission.IpProtocol`` in the API reference).
    """
    protocol = str(shape["IpProtocol"]).lower()
    protocol = PROTOCOL_NAMES.get(protocol, protocol)
    if protocol not in WITH_PORTS:
        return Traffic(protocol, -1, -1)
    from_port, to_port = shape.get("FromPort"), shape.get("ToPort")
    return Traffic(protocol, -1 if from_port is None else from_port, -1 if to_port is None else to_port)


# -- writing them


def traffic_arguments(of: Traffic) -> dict[str, Any]:
    """Return protocol and ports as EC2's mutating calls take them."""
    if of.protocol not in WITH_PORTS:
        return {"IpProtocol": of.protocol}
    return {"IpProtocol": of.protocol, "FromPort": of.from_port, "ToPort": of.to_port}


def rule_request(rule: Rule, source: Source) -> dict[str, Any]:
    """Return the argument of ``ModifySecurityGroupRules`` that turns the rule into one for the source.

    EC2 clears a description that the request leaves out, so the rule's own is sent, too.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRuleRequest.html
    """
    *_, name = _kind(source)
    request = {**traffic_arguments(rule.traffic), name: str(source), **_description(rule.description)}
    return {"SecurityGroupRuleId": rule.id, "SecurityGroupRule": request}


def permission(of: Traffic, source: Source, description: str | None = None) -> dict[str, Any]:
    """Return the permission by which ``AuthorizeSecurityGroupIngress`` and ``Revoke…`` name a rule."""
    listing, name, _ = _kind(source)
    return {**traffic_arguments(of), listing: [{name: str(source), **_description(description)}]}


def _description(text: str | None) -> dict[str, str]:
    return {"Description": text} if text else {}


def _kind(source: Source) -> tuple[str, str, str]:
    """Return how EC2's calls name a source: the list in a permission, the key there, and the key in a rule."""
    if isinstance(source, str):
        return "PrefixListIds", "PrefixListId", "PrefixListId"
    if isinstance(source, IPv4Network):
        return "IpRanges", "CidrIp", "CidrIpv4"
    return "Ipv6Ranges", "CidrIpv6", "CidrIpv6"


# -- for people


def ports_text(of: Traffic) -> str:
    """Return the ports as people write them: ``22``, ``8000-8010``, ``all``; for ICMP ``type 3 code 4``."""
    if of.from_port == -1:
        return "all"
    if of.protocol in ICMP:
        return f"type {of.from_port}" if of.to_port == -1 else f"type {of.from_port} code {of.to_port}"
    if (of.from_port, of.to_port) == ALL_PORTS:
        return "all"
    return str(of.from_port) if of.from_port == of.to_port else f"{of.from_port}-{of.to_port}"


def text_of(match: Match) -> str:
    """Return what a rule lets in, for people."""
    return f"{match.traffic.protocol} {ports_text(match.traffic)} from {match.source}"
