"""The authorized networks of each group: what the words in their list mean at this moment."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import botocore
from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError

from c7n_ingress.aws import prefix_lists
from c7n_ingress.aws.calls import DENIED, described, error_code, said
from c7n_ingress.decide.authorized import VPC, of_prefix_list, resolved, words
from c7n_ingress.decide.rules import Network

log = logging.getLogger("custodian.actions")

OF_VPCS = ("ec2:DescribeVpcs", "ec2:DescribeSecurityGroupVpcAssociations")

NOT_USED = frozenset({"association-failed", "disassociated"})
"""The states of an association in which the VPC has no interface with the group.

A disassociation fails while an interface has the group, so `disassociating` is none of them.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupVpcAssociation.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateSecurityGroupVpc.html
"""

REFUSED = DENIED | {"InvalidAction", "UnsupportedOperation"}
"""The error codes of a call that EC2 never answers here."""

ASSOCIATIONS = (
    ("CidrBlockAssociationSet", "CidrBlock", "CidrBlockState"),
    ("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock", "Ipv6CidrBlockState"),
)
"""Where a VPC lists its networks, and whether they are in use: the list, and the fields in it.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html
"""

OWN_ALONE = (
    "'vpc' authorizes only the networks of the group's own VPC; if the group is associated with other VPCs, their "
    "clients are blocked: {}"
)
NO_VPC = "EC2 lists no VPC of the group, so its networks cannot be authorized"


class Authorized(NamedTuple):
    """What replaces an open source in each group."""

    of: Mapping[str, list[Network] | str]
    """The networks by the group's id, in order of preference, or why they are not known, in a sentence."""
    left_out: Mapping[str, Sequence[str]]
    """Which other VPCs' networks are missing in a group, and why, by its id: one sentence each."""


def read(
    client: Any, values: Sequence[str], groups: Collection[Mapping[str, Any]], *, examples_pass: bool = False
) -> Authorized:
    """Read the entries of prefix lists, and the networks of the groups' VPCs, as far as the list has words for them.

    :param values: CIDRs and words.
    :param examples_pass: whether networks of the documentation may be among the entries of prefix lists.
    """
    named = words(values)
    entries = {each: prefix_lists.entries(client, each) for each in named if each != VPC}
    lists = {
        list_id: found if isinstance(found, str) else of_prefix_list(list_id, found, examples_pass=examples_pass)
        for list_id, found in entries.items()
    }
    if VPC not in named:
        return Authorized(dict.fromkeys((group["GroupId"] for group in groups), resolved(values, lists)), {})
    cidrs, left_out = inside(client, groups)
    return Authorized({group_id: resolved(values, lists | {VPC: each}) for group_id, each in cidrs.items()}, left_out)


# -- the networks of the VPCs in which a group is used


def inside(
    client: Any, groups: Collection[Mapping[str, Any]]
) -> tuple[dict[str, list[str] | str], dict[str, list[str]]]:
    """Read the networks of each group's own VPC and of those that it is associated with, by group id.

    :returns: the CIDRs, those of its own VPC first, or why they are not known; and what of other VPCs is left out.
    """
    own = {group["GroupId"]: group["VpcId"] for group in groups if group.get("VpcId")}
    found: dict[str, list[str] | str] = dict.fromkeys((group["GroupId"] for group in groups), NO_VPC)
    try:
        others, unlisted = associated(client, own)
    except (ClientError, BotoCoreError) as error:  # reported for each group
        log.exception("associations of groups with VPCs could not be read")
        return dict.fromkeys(found, f"the VPCs that the group is associated with cannot be read: {said(error)}"), {}
    for each in unlisted:
        log.warning(each)
    cidrs = cidrs_of(client, {*own.values(), *chain(*others.values())})
    left_out = {group_id: list(unlisted) for group_id in own}
    for group_id, vpc_id in own.items():
        networks = cidrs[vpc_id]
        for of_other in (cidrs[other] for other in others.get(group_id, ())):
            if isinstance(of_other, str):
                missing = f"Clients in a VPC that the group is associated with are blocked: {of_other}"
                left_out[group_id].append(missing)
            elif not isinstance(networks, str):
                networks = [*networks, *of_other]
        found[group_id] = networks
    return found, left_out


def associated(client: Any, group_ids: Iterable[str]) -> tuple[Mapping[str, list[str]], list[str]]:
    """Read with which further VPCs groups are associated, by group id, or a sentence if EC2 never lists that here."""
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupVpcAssociations.html
    if not hasattr(client, "describe_security_group_vpc_associations"):
        old = f"botocore {botocore.__version__} is too old to know DescribeSecurityGroupVpcAssociations"
        return {}, [OWN_ALONE.format(old)]
    found: defaultdict[str, list[str]] = defaultdict(list)
    request = ("describe_security_group_vpc_associations", "SecurityGroupVpcAssociations", "group-id", group_ids)
    try:
        for each in described(client, *request):
            if each["State"] not in NOT_USED:
                found[each["GroupId"]].append(each["VpcId"])
    except ClientError as error:
        if error_code(error) not in REFUSED:
            raise
        return {}, [OWN_ALONE.format(f"EC2 refuses DescribeSecurityGroupVpcAssociations: {said(error)}")]
    return {group_id: sorted(vpc_ids) for group_id, vpc_ids in found.items()}, []


def cidrs_of(client: Any, vpc_ids: Collection[str]) -> dict[str, list[str] | str]:
    """Read the CIDRs of VPCs, by id, IPv4 before IPv6; or a sentence where they cannot be read."""
    try:
        shapes = list(described(client, "describe_vpcs", "Vpcs", "vpc-id", vpc_ids))
    except (ClientError, BotoCoreError) as error:  # reported for each group in them
        log.exception("VPCs could not be read")
        return {vpc_id: f"the networks of {vpc_id} cannot be read: {said(error)}" for vpc_id in vpc_ids}
    unknown = {vpc_id: f"EC2 does not find {vpc_id}, so its networks cannot be authorized" for vpc_id in vpc_ids}
    return unknown | {shape["VpcId"]: _cidrs(shape) for shape in shapes}


def _cidrs(shape: Mapping[str, Any]) -> list[str] | str:
    try:
        return [
            each[cidr]
            for listing, cidr, state in ASSOCIATIONS
            for each in shape.get(listing) or ()
            if each[state]["State"] == "associated"
        ]
    except KeyError as error:  # an unknown shape must not stop the groups of other VPCs
        return f"the networks of {shape['VpcId']} cannot be read: one has no {error}"
