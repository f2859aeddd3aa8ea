"""Network interfaces from a file, as `aws ec2 describe-network-interfaces` prints them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c7n_ingress.decide.rules import Network
from c7n_ingress_tools.rehearsal.exports import Export

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OPTION = "--include-managed-resources"
EXPORT = Export(
    *("NetworkInterfaces", "NetworkInterface", "interface"),
    command=f"aws ec2 describe-network-interfaces {OPTION} --output json > interfaces.json",
)
SAMPLE = Path(__file__).with_name("interfaces.json")

ADDRESSES = {
    "PrivateIpAddresses": "PrivateIpAddress",
    "Ipv6Addresses": "Ipv6Address",
    "Ipv4Prefixes": "Ipv4Prefix",
    "Ipv6Prefixes": "Ipv6Prefix",
}
"""Where an interface's private addresses are, besides PrivateIpAddress: the list, and the field in it.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html
"""


@dataclass(frozen=True)
class Interface:
    """A network interface: the ids of its security groups, and its own addresses as networks, none twice."""

    id: str
    groups: tuple[str, ...]
    addresses: tuple[Network, ...]
    item: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """All that EC2 returns about it, without what is null."""


def parse(content: bytes, name: str | Path) -> list[Interface]:
    """Make interfaces of a file's content; the name is for the error."""
    return [
        Interface(
            item["NetworkInterfaceId"],
            tuple(group["GroupId"] for group in item["Groups"]),
            tuple(sorted(set(_addresses(item)), key=lambda each: (each.version, each))),
            item,
        )
        for item in EXPORT.parse(content, name)
    ]


def unseen(interfaces: Iterable[Interface]) -> str:
    """Return what "unused" means: no interface of the file has the group, and which ones a file may lack."""
    hidden = any(each.item.get("Operator", {}).get("HiddenByDefault") for each in interfaces)
    managed = "" if hidden else f"those that AWS services manage ({OPTION}), and "
    return f"no interface in the file uses the group. A file may lack {managed}those of other accounts in a shared VPC"


def _addresses(item: dict[str, Any]) -> Iterator[Network]:
    for name, key in ADDRESSES.items():
        yield from (ip_network(each[key]) for each in (item, *item.get(name, ())) if key in each)
