"""Read the networks of the VPCs in which a group is used."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
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
    left_out: Sequence[str] = ()
    """Which other VPCs' networks are missing, and why: one sentence each."""


def inside(client: Any, groups: Collection[Mapping[str, Any]]) -> dict[str, Inside]:
    """Read the networks of each group's own VPC and of those that it is associated with, by group id."""
    ids = [group["GroupId"] for group in groups]
    own = {group["GroupId"]: group["VpcId"] for group in groups if group.get("VpcId")}
    try:
        others, left_out = associated(client, own)
    except (ClientError, BotoCoreError) as error:  # reported for each group
        log.exception("associations of groups with VPCs could not be read")
        return dict.fromkeys(ids, Inside(f"the VPCs that the group is associated with cannot be read: {said(error)}"))
    for each in left_out:
        log.warning(each)
    cidrs = cidrs_of(client, {*own.values(), *chain(*others.values())})
    known = dict.fromkeys(ids, Inside(NO_VPC))
    for group_id, vpc_id in own.items():
        networks, missing = cidrs[vpc_id], list(left_out)
        if isinstance(networks, str):
            known[group_id] = Inside(networks)
            continue
        for found in (cidrs[other] for other in others.get(group_id, ())):
            if isinstance(found, str):
                missing.append(f"Clients in a VPC that the group is associated with are blocked: {found}")
            else:
                networks = [*networks, *found]
        known[group_id] = Inside(networks, missing)
    return known


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
