"""What a rehearsal knows of an account: the content of the user's files, or the sample."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from c7n_ingress_tools.rehearsal import groups
from c7n_ingress_tools.rehearsal.exports import Export

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from c7n_ingress_tools.rehearsal.groups import Group

INTERFACES = Export(
    *("NetworkInterfaces", "NetworkInterface", "interface"),
    command="aws ec2 describe-network-interfaces --include-managed-resources --output json > interfaces.json",
)
SAMPLE = Path(__file__).with_name("interfaces.json")
VPCS = Export("Vpcs", "Vpc", "VPC", command="aws ec2 describe-vpcs --output json > vpcs.json")
ONE_PLACE = "both must be of one account and region"


class Account(NamedTuple):
    """The security groups of one account and region, and what they use; empty what is not known."""

    groups: list[Group]
    interfaces: Sequence[dict[str, Any]] = ()
    vpcs: Sequence[dict[str, Any]] = ()
    prefix_lists: Mapping[str, Sequence[str]] = MappingProxyType({})
    """The CIDRs of prefix lists, by id."""


def read(groups_file: Path | None, interfaces_file: Path | None, vpcs_file: Path | None) -> Account:
    """Read the files of an account; without a file of groups, the sample, which has its own interfaces.

    :raises CommandError: a file cannot be used, or is of another account or region than that of the groups.
    """
    today = dt.datetime.now(dt.timezone.utc).date()
    found = groups.load(groups_file) if groups_file else groups.sample(today)
    path = interfaces_file or (None if groups_file else SAMPLE)
    used = load_interfaces(path, found) if path else ()
    return Account(found, used, load_vpcs(vpcs_file, found) if vpcs_file else ())


def load_interfaces(path: Path, of: Sequence[Group]) -> list[dict[str, Any]]:
    """Read the interfaces of a file. At least one must have one of the groups."""
    found = INTERFACES.parse(INTERFACES.content(path), path)
    if {group["GroupId"] for group in of}.isdisjoint(group["GroupId"] for each in found for group in each["Groups"]):
        raise INTERFACES.refused(path, f"no interface has a security group of the groups' file: {ONE_PLACE}")
    return found


def load_vpcs(path: Path, of: Sequence[Group]) -> list[dict[str, Any]]:
    """Read the VPCs of a file, which has one for each of the groups."""
    found = VPCS.parse(VPCS.content(path), path)
    if missing := {group["VpcId"] for group in of} - {vpc["VpcId"] for vpc in found}:
        raise VPCS.refused(path, f"has no {min(missing)}, in which groups of the groups' file are: {ONE_PLACE}")
    return found
