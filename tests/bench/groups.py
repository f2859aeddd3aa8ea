"""Groups by the thousand."""

from __future__ import annotations

from typing import Any

from tests.support.embedded import ACCOUNT, VPC

OPEN = "0.0.0.0/0"


def group(number: int, opened: int, closed: int = 2) -> dict[str, Any]:
    """Return a group with so many rules that are open, and so many that are not."""
    sources = [OPEN] * opened + ["10.0.0.0/8"] * closed
    return {
        "GroupId": f"sg-{number:017x}",
        "GroupName": f"bench-{number}",
        "Description": "bench",
        "OwnerId": ACCOUNT,
        "VpcId": VPC,
        "Tags": [{"Key": "Owner", "Value": f"team-{number % 40}"}],
        "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": source}]}
            for port, source in enumerate(sources, 2000)
        ],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": OPEN}]}],
    }


def groups(number: int, every: int) -> list[dict[str, Any]]:
    """Return so many groups; one in `every` has an open rule."""
    return [group(each, int(each % every == 0)) for each in range(1, number + 1)]
