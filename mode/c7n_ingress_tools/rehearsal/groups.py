"""Security groups from a file, as `aws ec2 describe-security-groups` prints them."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from pathlib import Path
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends

from c7n_ingress_tools.embedded_aws.rules import SOURCES, permissions_of, rules_from
from c7n_ingress_tools.rehearsal.exports import Export, show

EXPORT = Export(
    *("SecurityGroups", "SecurityGroup", "group"),
    command="aws ec2 describe-security-groups --output json > groups.json",
)
SAMPLE = Path(__file__).with_name("groups.json")
NO_VPC = "vpc-00000000000000000"

Group = dict[str, Any]


def load(path: Path) -> list[Group]:
    """Read the groups of a file; see :func:`parse`."""
    return parse(EXPORT.content(path), str(path))


def parse(content: bytes, name: str) -> list[Group]:
    """Return groups in the shape of DescribeSecurityGroups, with all lists, and rules as EC2 stores them."""
    groups = [_group(item, name) for item in EXPORT.parse(content, name)]
    regions = _regions(groups)
    if len(regions) > 1 or not set(ec2_backends["123456789012"].regions).issuperset(regions):
        one = "rehearse one region at a time, and one that the installed boto3 knows"
        raise EXPORT.refused(name, f"has groups of {', '.join(regions)}: {one}")
    return groups


def sample(today: dt.date) -> list[Group]:
    """Read the sample; its exemption ends thirty days from today, so that it holds whenever the demo is run."""
    ahead = today + dt.timedelta(days=30)
    return parse(SAMPLE.read_bytes().replace(b"{in-30-days}", ahead.isoformat().encode()), SAMPLE.name)


def account(groups: list[Group]) -> str | None:
    """Return the account that owns most of the groups; None when the file does not say."""
    owners = Counter(group["OwnerId"] for group in groups if group["OwnerId"])
    return owners.most_common(1)[0][0] if owners else None


def region(groups: list[Group]) -> str | None:
    """Return the region that the groups' ARNs name (AWS CLI 2.20 and later print ARNs); None if there are no ARNs."""
    return next(iter(_regions(groups)), None)


def prefix_lists(groups: list[Group]) -> list[str]:
    """Return the ids of the prefix lists that may come in."""
    permissions = (permission for group in groups for permission in group["IpPermissions"])
    return sorted({each["PrefixListId"] for permission in permissions for each in permission["PrefixListIds"]})


def _regions(groups: list[Group]) -> list[str]:
    """Return the regions that the groups' ARNs name, in whichever partition."""
    arns = (re.match(r"arn:aws[a-z-]*:ec2:([a-z0-9-]+):", group["SecurityGroupArn"]) for group in groups)
    return sorted({arn[1] for arn in arns if arn})


def _group(item: dict[str, Any], name: str) -> Group:
    return {
        "GroupId": item["GroupId"],
        "GroupName": item.get("GroupName") or item["GroupId"],
        "Description": item.get("Description", ""),
        "OwnerId": item.get("OwnerId", ""),
        "VpcId": item.get("VpcId", NO_VPC),
        "SecurityGroupArn": item.get("SecurityGroupArn", ""),
        "Tags": item.get("Tags", []),
        "IpPermissions": _permissions(item, "IpPermissions", name),
        "IpPermissionsEgress": _permissions(item, "IpPermissionsEgress", name),
    }


def _permissions(item: dict[str, Any], direction: str, name: str) -> list[dict[str, Any]]:
    """Return the permissions of one direction as EC2 describes them: each protocol and ports once, each source once."""
    permissions = item.get(direction, [])
    try:
        rules = dict.fromkeys(rules_from(permissions, egress=False))
    except EC2ClientError as error:
        raise EXPORT.refused(name, f"group {item['GroupId']} has a rule that EC2 refuses: {error.message}") from error
    for permission in permissions:
        if not any(permission.get(listing) for listing in SOURCES):
            raise EXPORT.refused(name, f"group {item['GroupId']} has a rule that names no source: {show(permission)}")
    return permissions_of(rules)
