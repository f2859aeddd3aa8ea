"""What a rehearsal knows of an account: the content of the user's files, or the sample."""

from __future__ import annotations

import datetime as dt
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from c7n_ingress_tools.rehearsal import groups, interfaces
from c7n_ingress_tools.rehearsal.exports import Export

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from c7n_ingress_tools.rehearsal.groups import Group
    from c7n_ingress_tools.rehearsal.interfaces import Interface

VPCS = Export("Vpcs", "Vpc", "VPC", "VPCs", "CidrBlock", command="aws ec2 describe-vpcs --output json > vpcs.json")


class Account(NamedTuple):
    """The security groups of one account and region, and what they use; empty what is not known."""

    groups: list[Group]
    interfaces: Sequence[Interface] = ()
    vpcs: Sequence[dict[str, Any]] = ()
    prefix_lists: Mapping[str, Sequence[str]] = MappingProxyType({})
    """The CIDRs of prefix lists, by id."""


def read(groups_file: Path | None, interfaces_file: Path | None, vpcs_file: Path | None) -> Account:
    """Read the files of an account; without a file of groups, the sample, which has its own interfaces.

    :raises UnusableError: a file cannot be used, or is of another account or region than that of the groups.
    """
    today = dt.datetime.now(dt.timezone.utc).date()
    found = groups.load(groups_file) if groups_file else groups.sample(today)
    path = interfaces_file or (None if groups_file else interfaces.SAMPLE)
    used = interfaces.load(path) if path else []
    if path:
        interfaces.check(used, found, path)
    return Account(found, used, load_vpcs(vpcs_file, found) if vpcs_file else ())


def load_vpcs(path: Path, of: Iterable[Group]) -> list[dict[str, Any]]:
    """Read the VPCs of a file, which has one for each of the groups."""
    found = VPCS.parse(VPCS.content(path), path)
    known = {vpc["VpcId"] for vpc in found}
    for group in of:
        if group["VpcId"] not in known:
            what = f"has no {group['VpcId']}, in which {group['GroupId']} is: both must be of one region"
            raise VPCS.refused(path, what)
    return found
