"""VPCs from a file, as `aws ec2 describe-vpcs` prints them: what the word `vpc` in a policy means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from c7n_ingress_tools.rehearsal.exports import Export

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

EXPORT = Export("Vpcs", "Vpc", "VPC", "VPCs", "CidrBlock", command="aws ec2 describe-vpcs --output json > vpcs.json")


def load(path: Path, groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the VPCs of a file, which has one for each of the groups.

    :raises RefusedError: the file cannot be used.
    """
    found = EXPORT.parse(EXPORT.content(path), path)
    known = {vpc["VpcId"] for vpc in found}
    for group in groups:
        if group["VpcId"] not in known:
            what = f"has no {group['VpcId']}, in which {group['GroupId']} is: both must be of one region"
            raise EXPORT.refused(path, what)
    return found
