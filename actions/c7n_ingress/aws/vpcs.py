"""Read the networks of VPCs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError
from c7n.utils import chunks

from c7n_ingress.aws.apply import said
from c7n_ingress.aws.read import GROUPS_A_CALL, PAGE_SIZE, pages

log = logging.getLogger("custodian.actions")

PERMISSIONS = ("ec2:DescribeVpcs",)

ASSOCIATIONS = (
    ("CidrBlockAssociationSet", "CidrBlock", "CidrBlockState"),
    ("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock", "Ipv6CidrBlockState"),
)
"""Where a VPC's networks stand, and whether they are in use: the list, and the fields in it.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html
"""


def cidrs_of(client: Any, vpc_ids: Iterable[str]) -> dict[str, list[str] | str]:
    """Read the CIDRs of VPCs, by id, IPv4 before IPv6; in their place a sentence, where they cannot be read."""
    found: dict[str, list[str] | str] = {}
    for batch in chunks(sorted(vpc_ids), GROUPS_A_CALL):
        # By filter: the parameter VpcIds fails whole if one of the VPCs is not there.
        filters = [{"Name": "vpc-id", "Values": batch}]
        try:
            shapes = list(pages(client, "describe_vpcs", "Vpcs", MaxResults=PAGE_SIZE, Filters=filters))
        except (ClientError, BotoCoreError) as error:  # told of each group of theirs
            log.exception("VPCs could not be read")
            found |= {vpc_id: f"the networks of {vpc_id} cannot be read: {said(error)}" for vpc_id in batch}
            continue
        found |= {vpc_id: f"EC2 knows no {vpc_id}, so that its networks cannot be authorized" for vpc_id in batch}
        found |= {shape["VpcId"]: _cidrs(shape) for shape in shapes}
    return found


def _cidrs(shape: Mapping[str, Any]) -> list[str] | str:
    try:
        return list(_in_use(shape))
    except KeyError as error:  # a shape that is not known must not stop the groups of other VPCs
        return f"the networks of {shape['VpcId']} cannot be read: one has no {error}"


def _in_use(shape: Mapping[str, Any]) -> Iterator[str]:
    for listing, cidr, state in ASSOCIATIONS:
        for each in shape.get(listing) or ():
            if each[state]["State"] == "associated":
                yield each[cidr]
