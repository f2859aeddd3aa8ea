"""VPCs from a file, as `aws ec2 describe-vpcs` prints them: what the word `vpc` in a policy means."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from c7n_ingress_tools.rehearsal import exports
from c7n_ingress_tools.rehearsal.exports import RefusedError, WrongError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COMMAND = "aws ec2 describe-vpcs --output json > vpcs.json"

# Where a VPC's networks are: the list, and the field in it, which has its state beside it. The API reference's Vpc,
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html
NETWORKS = {"CidrBlockAssociationSet": "CidrBlock", "Ipv6CidrBlockAssociationSet": "Ipv6CidrBlock"}


def load(path: Path, groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the VPCs of a file, which has one for each of the groups.

    :raises RefusedError: the file cannot be used.
    """
    try:
        found = [_vpc(item) for item in exports.items(exports.document(exports.content(path, COMMAND)), "Vpcs", "VPCs")]
    except WrongError as error:
        raise RefusedError(path, str(error), COMMAND) from error
    known = {vpc["VpcId"] for vpc in found}
    for group in groups:
        if group["VpcId"] not in known:
            what = f"has no {group['VpcId']}, in which {group['GroupId']} is: both must be of one region"
            raise RefusedError(path, what, COMMAND)
    return found


def _vpc(item: dict[str, Any]) -> dict[str, Any]:
    name = exports.text(item, "VpcId")
    if not re.fullmatch(r"vpc-[0-9a-f]+", name):
        raise WrongError(f"the VpcId {exports.show(item.get('VpcId'))}, which is not a VPC's id")
    try:
        _network(item, "CidrBlock")
        for listing, network in NETWORKS.items():
            for each in exports.objects(item, listing):
                _network(each, network)
                _state(each, f"{network}State")
    except WrongError as error:
        raise WrongError(f"VPC {name} has {error}") from error
    return item


def _network(item: dict[str, Any], name: str) -> None:
    text = exports.text(item, name)
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise WrongError(f"the {name} {exports.show(text)}, which is no network") from None


def _state(item: dict[str, Any], name: str) -> None:
    state = item.get(name)
    if not isinstance(state, dict) or not isinstance(state.get("State"), str):
        raise WrongError(f"the {name} {exports.show(state)}, which is none")
    if not exports.text(item, "AssociationId"):
        raise WrongError("a network without AssociationId")
