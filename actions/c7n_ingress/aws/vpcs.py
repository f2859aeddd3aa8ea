"""Read the networks of the VPCs in which a group is used."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import botocore
from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError
from c7n.utils import chunks

from c7n_ingress.aws.calls import DENIED, GROUPS_A_CALL, described, error_code, said

log = logging.getLogger("custodian.actions")

PERMISSIONS = ("ec2:DescribeVpcs", "ec2:DescribeSecurityGroupVpcAssociations")

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


class Inside(NamedTuple):
    """The networks of the VPCs in which a group is used."""

    cidrs: list[str] | str
    """The CIDRs, those of its own VPC first; or why these are not known, in a sentence."""
    left_out: tuple[str, ...] = ()
    """Which other VPCs' networks are missing, and why: one sentence each."""


def inside(client: Any, groups: Iterable[Mapping[str, Any]]) -> dict[str, Inside]:
    """Read the networks of each group's own VPC and of those that it is associated with, by group id."""
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupVpcAssociations.html
    groups = list(groups)
    ids = [group["GroupId"] for group in groups]
    own = {group["GroupId"]: group["VpcId"] for group in groups if group.get("VpcId")}
    left_out: tuple[str, ...] = ()
    try:
        others = associated(client, own)
        if isinstance(others, str):
            left_out, others = (OWN_ALONE.format(others),), {}
            log.warning(*left_out)
    except (ClientError, BotoCoreError) as error:  # reported for each group
        log.exception("associations of groups with VPCs could not be read")
        return dict.fromkeys(ids, Inside(f"the VPCs that the group is associated with cannot be read: {said(error)}"))
    cidrs = cidrs_of(client, {*own.values(), *(vpc_id for each in others.values() for vpc_id in each)})
    known = {
        group_id: _inside([vpc_id, *others.get(group_id, ())], cidrs, left_out) for group_id, vpc_id in own.items()
    }
    return dict.fromkeys(ids, Inside(NO_VPC)) | known


def _inside(vpc_ids: Iterable[str], cidrs: Mapping[str, list[str] | str], left_out: tuple[str, ...]) -> Inside:
    own, *others = (cidrs[vpc_id] for vpc_id in vpc_ids)
    if isinstance(own, str):
        return Inside(own)
    known = [cidr for each in others if not isinstance(each, str) for cidr in each]
    missing = (
        f"Clients in a VPC that the group is associated with are blocked: {each}"
        for each in others
        if isinstance(each, str)
    )
    return Inside([*own, *known], (*left_out, *missing))


def associated(client: Any, group_ids: Iterable[str]) -> Mapping[str, list[str]] | str:
    """Read with which further VPCs groups are associated, by group id, or why EC2 never lists that, in a sentence."""
    if not hasattr(client, "describe_security_group_vpc_associations"):
        return f"botocore {botocore.__version__} is too old to know DescribeSecurityGroupVpcAssociations"
    found: defaultdict[str, list[str]] = defaultdict(list)
    request = ("describe_security_group_vpc_associations", "SecurityGroupVpcAssociations", "group-id", group_ids)
    try:
        for each in described(client, *request):
            if each["State"] not in NOT_USED:
                found[each["GroupId"]].append(each["VpcId"])
    except ClientError as error:
        if error_code(error) in REFUSED:
            return f"EC2 refuses DescribeSecurityGroupVpcAssociations: {said(error)}"
        raise
    return {group_id: sorted(vpc_ids) for group_id, vpc_ids in found.items()}


def cidrs_of(client: Any, vpc_ids: Iterable[str]) -> dict[str, list[str] | str]:
    """Read the CIDRs of VPCs, by id, IPv4 before IPv6; or a sentence where they cannot be read."""
    found: dict[str, list[str] | str] = {}
    for batch in chunks(sorted(vpc_ids), GROUPS_A_CALL):
        try:
            shapes = list(described(client, "describe_vpcs", "Vpcs", "vpc-id", batch))
        except (ClientError, BotoCoreError) as error:  # reported for each group in them
            log.exception("VPCs could not be read")
            found |= {vpc_id: f"the networks of {vpc_id} cannot be read: {said(error)}" for vpc_id in batch}
            continue
        found |= {vpc_id: f"EC2 does not find {vpc_id}, so its networks cannot be authorized" for vpc_id in batch}
        found |= {shape["VpcId"]: _cidrs(shape) for shape in shapes}
    return found


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
