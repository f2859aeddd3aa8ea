"""What a rehearsal knows of an account: the content of the user's files, the sample, or what is in AWS."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3

from c7n_ingress.aws.behind import MANAGED, knows_managed
from c7n_ingress.aws.calls import pages
from c7n_ingress.aws.prefix_lists import cidrs_of, prefix_lists, referenced
from c7n_ingress.decide.rules import VERSIONS
from c7n_ingress_tools.rehearsal import groups
from c7n_ingress_tools.rehearsal.exports import Export

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


def read_live(region: str, authorized: Iterable[str]) -> Account:
    """Read what is in a region, by `Describe` and `Get` calls with the caller's credentials.

    :param authorized: the ids of the prefix lists that are authorized.
    :raises CommandError: there is no group.
    """
    client = boto3.Session(region_name=region).client("ec2")
    managed = {MANAGED: True} if knows_managed(client) else {}
    there = [*pages(client, "describe_security_groups", "SecurityGroups")]
    used = [*pages(client, "describe_network_interfaces", "NetworkInterfaces", **managed)]
    vpcs = [*pages(client, "describe_vpcs", "Vpcs")]
    found = prefix_lists(client, referenced(there))
    lists = {list_id: [*map(str, each.networks)] for list_id, each in found.items() if each.family in VERSIONS}
    lists |= {list_id: cidrs_of(client, list_id) for list_id in authorized}
    return Account(
        groups.parse(_exported(groups.EXPORT, there), region),
        INTERFACES.parse(_exported(INTERFACES, used), region) if used else (),
        VPCS.parse(_exported(VPCS, vpcs), region) if vpcs else (),
        lists,
    )


def _exported(export: Export, items: list[dict[str, Any]]) -> bytes:
    """Return what the AWS CLI prints of an answer."""
    return json.dumps({export.key: items}, default=str).encode()
