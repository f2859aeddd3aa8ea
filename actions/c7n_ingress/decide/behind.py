"""What uses a security group, by the network interfaces that have it.

An interface shows what it is for by its type, its requester and its description:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/requester-managed-eni.html
What cannot be seen: interfaces of other accounts in a VPC that another account owns (its owner sees them all,
https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html), interfaces that AWS services hide from a client that
cannot ask for them, and a balancer or an accelerator in front of a private interface.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, NamedTuple

from c7n_ingress.decide.openness import is_private
from c7n_ingress.decide.states import counted

ANNOTATION = "c7n:behind-ingress"
"""The annotation in which the filter puts, and templates find, what uses a group."""

EXPOSED = {
    "internet": "reachable from the internet",
    "unknown": "not known",  # EC2 does not list them
    "private": "reachable inside the network only",
    "unused": "nothing uses it",
}
"""From where the resources that use a group can be reached, the worst first, and the words for it."""

EXPOSURES = tuple(EXPOSED)
MOST_PHRASES = 10
"""How many phrases a message has about one group."""

BALANCER = "the load balancer {}"

SERVICES = tuple(
    (re.compile(pattern), unit, words)
    for pattern, unit, words in (
        # https://repost.aws/knowledge-center/elb-find-load-balancer-ip
        (r"ELB ((?:app|net|gwy)/[\w.-]{1,64})/[0-9a-f]+", "address", BALANCER),
        (r"ELB ([\w.-]{1,64})", "address", BALANCER),
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/requester-managed-eni.html
        (r"VPC Endpoint Interface:? (vpce-[0-9a-f]+)", "", "VPC endpoint {}"),
        # https://docs.aws.amazon.com/efs/latest/ug/logging-using-cloudtrail.html
        (r"EFS mount target for (fs-[0-9a-f]+)(?: \(fsmt-[0-9a-f]+\))?", "", "EFS {}"),
        # As DescribeNetworkInterfaces has them in public recordings; AWS documents the services, not these texts.
        (r"AWS Lambda VPC ENI-([\w-]{1,64}?)(?:-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?", "", "Lambda {}"),
        (r"ElastiCache ([\w.-]{1,64})", "", "ElastiCache {}"),
        (r"Amazon EKS ([\w-]{1,100})", "", "EKS control plane of {}"),
        (r"ES ([\w-]{1,64})", "", "OpenSearch {}"),
        (r"RDSNetworkInterface", "interface", "RDS"),
        (r"RedshiftNetworkInterface", "interface", "Redshift"),
        (r"DMSNetworkInterface", "interface", "DMS"),
        (r"arn:aws[\w-]*:ecs:[\w-]+:\d+:attachment/[0-9a-f-]+", "interface", "ECS tasks"),
    )
)
"""What a service's interface is called: its description, the unit that is counted (or ""), and the words."""

CLUSTERS = {
    "cluster.k8s.amazonaws.com/name",  # https://github.com/aws/amazon-vpc-cni-k8s, CLUSTER_NAME
    "eks:eks-cluster-name",  # https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonEKSNetworkingPolicy.html
    "eks:cluster-name",  # https://docs.aws.amazon.com/eks/latest/userguide/eks-using-tags.html
}
"""Tags whose value is the name of an interface's cluster."""

OWNED = "kubernetes.io/cluster/"
"""The beginning of a tag's key whose end is the name of an interface's cluster."""

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
"""A name that may be shown: tags can hold any text."""


class Behind(NamedTuple):
    """What uses a group: templates find it as a dict."""

    exposure: str
    """One of `EXPOSURES`."""
    behind: list[str]
    """What it is, a short phrase each, the worst first."""


class Kind(NamedTuple):
    """What an interface is part of."""

    unit: str
    """What is counted: addresses, instances, interfaces; empty where nothing is counted."""
    words: str


UNKNOWN = Behind("unknown", ["could not be looked up"])


def behind(interfaces: Iterable[Mapping[str, Any]], unseen: Sequence[str] = ()) -> Behind:
    """Describe what uses a group.

    :param interfaces: those that have the group, in any order.
    :param unseen: which other interfaces may have it and cannot be seen: a short phrase each. If there are any, no
        group counts as unused.
    """
    found: defaultdict[Kind, set[str]] = defaultdict(set)
    exposures: dict[Kind, str] = {}
    for interface in interfaces:
        kind = _kind(interface)
        found[kind].add(interface.get("Attachment", {}).get("InstanceId") or interface["NetworkInterfaceId"])
        exposures[kind] = min(exposures.get(kind, "unused"), exposure(interface), key=rank)
    phrases = [
        text for _, text in sorted((rank(exposures[kind]), _phrase(kind, len(ids))) for kind, ids in found.items())
    ]
    most = MOST_PHRASES - len(unseen)
    if len(phrases) > most:
        phrases[most - 1 :] = [f"and {len(phrases) - most + 1} more"]
    worst = min(exposures.values(), key=rank, default="unused")
    return Behind("unknown" if worst == "unused" and unseen else worst, [*phrases, *unseen])


def rank(exposure: str) -> int:
    """Return how bad an exposure is: the lower, the worse."""
    return EXPOSURES.index(exposure)


def exposure(interface: Mapping[str, Any]) -> str:
    """Return from where an interface can be reached, by its addresses."""
    if interface.get("Status") == "available":  # it is attached to nothing
        return "unused"
    if interface.get("DenyAllIgwTraffic"):  # an internal balancer's IPv6 address is a public one
        return "private"
    return "internet" if any(_public_addresses(interface)) else "private"


def _public_addresses(interface: Mapping[str, Any]) -> Iterator[str]:
    for each in (interface, *(interface.get("PrivateIpAddresses") or ())):
        if public := (each.get("Association") or {}).get("PublicIp"):
            yield public
    for listing, key in (("Ipv6Addresses", "Ipv6Address"), ("Ipv6Prefixes", "Ipv6Prefix")):
        for each in interface.get(listing) or ():
            if not is_private(ip_network(each[key])):
                yield each[key]


def _kind(interface: Mapping[str, Any]) -> Kind:
    if interface.get("Status") == "available":
        return Kind("unattached interface", "")
    tags = {tag["Key"]: tag["Value"] for tag in interface.get("TagSet") or ()}
    if cluster := _cluster(tags):
        return Kind("", f"EKS nodes of {cluster}")
    if interface.get("RequesterManaged") and (service := _service(interface.get("Description", ""), tags)):
        return service
    if interface.get("Attachment", {}).get("InstanceId"):
        return Kind("instance", "")
    requester = interface.get("RequesterId", "") if interface.get("RequesterManaged") else ""
    kinds = [text for text in (interface.get("InterfaceType"), requester) if text and text != "interface"]
    return Kind("interface", " by ".join(kinds) or "an unknown kind")


def _service(description: str, tags: Mapping[str, str]) -> Kind | None:
    for pattern, unit, words in SERVICES:
        if match := pattern.fullmatch(description):
            if match.groups():
                return Kind(unit, words.format(match[1]))
            name = NAME.fullmatch(tags.get("Name", ""))
            return Kind("", f"{words} {name[0]}") if name else Kind(unit, words)
    return None


def _cluster(tags: Mapping[str, str]) -> str | None:
    names = [tags[key] for key in CLUSTERS & tags.keys()]
    names += [key.removeprefix(OWNED) for key, value in tags.items() if key.startswith(OWNED) and value == "owned"]
    return min((name for name in names if NAME.fullmatch(name)), default=None)


def _phrase(kind: Kind, count: int) -> str:
    if not kind.unit:
        return kind.words
    return counted(count, kind.unit) + (f" of {kind.words}" if kind.words else "")
