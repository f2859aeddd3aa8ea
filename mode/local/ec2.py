"""Security groups that behave as EC2's do, where moto's do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moto.ec2.models import ec2_backends
from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupRule

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Behaviour:
    """What EC2 leaves to the account, or to chance."""

    def reset(self) -> None:
        """Behave as EC2 does by default."""
        self.__init__()


behaviour = Behaviour()


def install() -> None:
    """Have moto serve these security groups."""


def load_groups(groups: Iterable[dict], region: str = "us-east-1") -> None:
    """Put groups, in the shape that `aws ec2 describe-security-groups` prints, into their owners' accounts."""
    for group in groups:
        backend = ec2_backends[group.get("OwnerId") or "123456789012"][region]
        loaded = SecurityGroup(
            backend,
            group["GroupId"],
            group.get("GroupName") or group["GroupId"],
            group.get("Description") or "",
            group.get("VpcId"),
            {tag["Key"]: tag["Value"] for tag in group.get("Tags") or []},
        )
        loaded.ingress_rules = list(rules(backend, group, "IpPermissions"))
        loaded.egress_rules = list(rules(backend, group, "IpPermissionsEgress"))
        backend.groups[group.get("VpcId")][loaded.id] = loaded


def rules(backend, group, direction):
    """Make moto's rules of one direction."""
    for permission in group.get(direction) or []:
        common = (
            backend,
            permission["IpProtocol"],
            group["GroupId"],
            permission.get("FromPort", -1),
            permission.get("ToPort", -1),
        )
        egress = direction == "IpPermissionsEgress"
        for cidr in (permission.get("IpRanges") or []) + (permission.get("Ipv6Ranges") or []):
            yield SecurityGroupRule(*common, cidr, is_egress=egress)
        for pair in permission.get("UserIdGroupPairs") or []:
            yield SecurityGroupRule(*common, None, source_group=pair, is_egress=egress)
        for prefix_list in permission.get("PrefixListIds") or []:
            yield SecurityGroupRule(*common, None, prefix_list_id=prefix_list, is_egress=egress)
