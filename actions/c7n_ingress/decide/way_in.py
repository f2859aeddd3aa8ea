"""How people still get into instances whose port for SSH or RDP is closed.

Session Manager needs no open port: https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager.html
An EC2 Instance Connect Endpoint needs a rule for its own security group or address:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/eice-security-groups.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from c7n_ingress.decide.ports import any_in, parse_ports
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import traffic

INSTANCES = "c7n:instances-ingress"
"""The annotation with the instances that use a group."""

PORTS = parse_ports(["tcp/22", "tcp/3389"])
"""The ports of SSH and RDP."""

MOST_NAMES = 5
"""How many instances or endpoints a message names."""


def is_closed(records: Iterable[Record]) -> bool:
    """Whether an open rule was closed that let in SSH or RDP."""
    return any(any_in(PORTS, traffic(record["traffic"])) for record in records if record["was"] is not None)


def instances(interfaces: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the instances among the interfaces that have a group, each with its VPC."""
    return {
        instance: interface.get("VpcId", "")
        for interface in interfaces
        if (instance := interface.get("Attachment", {}).get("InstanceId"))
    }


def by_session_manager(used_by: Collection[str], online: Collection[str]) -> str:
    """Return which of the instances Session Manager reaches: those whose agent is online."""
    reached = sorted(set(used_by) & set(online))
    if not reached:
        return "Session Manager reaches none of the instances that use this group"
    many = f"{len(reached)} of {len(used_by)} instances that use this group"
    return f"without the open port, Session Manager reaches {many}: {_names(reached)}"


def by_endpoint(endpoints: Sequence[Mapping[str, Any]]) -> str:
    """Return which EC2 Instance Connect Endpoints are in the VPC of the instances."""
    if not endpoints:
        return "no EC2 Instance Connect Endpoint is in the VPC of the instances"
    ids = sorted(each["InstanceConnectEndpointId"] for each in endpoints)
    groups = sorted({group for each in endpoints for group in each.get("SecurityGroupIds") or ()})
    allowed = f"security groups {_names(groups)}" if groups else "its address"
    return f"EC2 Instance Connect Endpoint {_names(ids)} reaches the instances if a rule allows {allowed}"


def unread(what: str, why: str) -> str:
    """Return that it could not be looked up what reaches the instances."""
    return f"whether {what} reaches the instances that use this group could not be looked up ({why})"


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
