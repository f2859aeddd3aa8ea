"""Network interfaces from a file, as `aws ec2 describe-network-interfaces` prints them."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from botocore.session import get_session

from c7n_ingress_tools.rehearsal import exports
from c7n_ingress_tools.rehearsal.exports import RefusedError, WrongError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OPTION = "--include-managed-resources"
COMMAND = f"aws ec2 describe-network-interfaces {OPTION} --output json > interfaces.json"
WHY = f"without {OPTION}, interfaces that AWS services manage are missing, and groups that only they use look unused"
SAMPLE = Path(__file__).with_name("interfaces.json")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where an interface's private addresses are: the list, and the field in it. The API reference's NetworkInterface,
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html
ADDRESSES = {
    "PrivateIpAddresses": "PrivateIpAddress",
    "Ipv6Addresses": "Ipv6Address",
    "Ipv4Prefixes": "Ipv4Prefix",
    "Ipv6Prefixes": "Ipv6Prefix",
}


# What an entry of a list cannot lack.
NEEDED = {"Groups": ("GroupId",), "TagSet": ("Key", "Value"), **{name: (key,) for name, key in ADDRESSES.items()}}

# How JSON has the types of EC2's model.
TYPES: dict[str, Any] = {
    "structure": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "timestamp": str,
}


@dataclass(frozen=True)
class Interface:
    """A network interface: the ids of its security groups, and its own addresses as networks, none twice."""

    id: str
    groups: tuple[str, ...]
    addresses: tuple[Network, ...]
    owner: str
    """The account; empty when the file does not say."""
    hidden: bool = False
    """Whether EC2 lists it only if managed resources are asked for."""
    item: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """All that EC2 returns about it, without what is null."""


def load(path: Path) -> list[Interface]:
    """Read the interfaces of a file.

    :raises RefusedError: the file cannot be used.
    """
    return parse(exports.content(path, COMMAND), str(path))


def parse(content: bytes, name: str) -> list[Interface]:
    """Make interfaces of a file's content; the name is for what RefusedError says."""
    try:
        return _interfaces(exports.document(content))
    except WrongError as error:
        raise RefusedError(name, str(error), COMMAND) from error


def check(interfaces: Iterable[Interface], groups: Iterable[dict[str, Any]], name: str | Path) -> None:
    """Check that an interface has one of the groups.

    :raises RefusedError: none has; the error names the accounts.
    """
    interfaces, groups = list(interfaces), list(groups)
    known = {group["GroupId"] for group in groups}
    if any(known.intersection(each.groups) for each in interfaces):
        return
    theirs = ", ".join(sorted({each.owner for each in interfaces} - {""})) or "unknown"
    ours = ", ".join(sorted({group["OwnerId"] for group in groups} - {""})) or "unknown"
    what = (
        f"no interface has a security group of the groups' file (accounts: {theirs} here, {ours} there): "
        "both must be of one account and region"
    )
    raise RefusedError(name, what, COMMAND)


def unseen(interfaces: Iterable[Interface]) -> str:
    """Return what "unused" means: no interface of the file has the group, and which ones a file may lack."""
    managed = "" if any(each.hidden for each in interfaces) else f"those that AWS services manage ({OPTION}), and "
    return f"no interface in the file uses the group. A file may lack {managed}those of other accounts in a shared VPC"


def _interfaces(document: Any) -> list[Interface]:
    items = exports.items(document, "NetworkInterfaces", "interfaces")
    if not items:
        raise WrongError("holds no interface: is it the right region?")
    found = [_interface(item, position) for position, item in enumerate(items, start=1)]
    most, times = Counter(each.id for each in found).most_common(1)[0]
    if times > 1:
        raise WrongError(f"interface {most} is there {times} times")
    return found


def _interface(item: dict[str, Any], position: int) -> Interface:
    number = item.get("NetworkInterfaceId")
    if not isinstance(number, str) or not re.fullmatch(r"eni-[0-9a-f]{8,17}", number):
        raise WrongError(f"interface {position} of the list has the NetworkInterfaceId {exports.show(number)}")
    if item.get("Groups") is None:
        raise WrongError(f'interface {number} has no "Groups", only {exports.names(item)}: a --query projection?')
    try:
        for name, keys in NEEDED.items():
            for each in exports.objects(item, name):
                if missing := [key for key in keys if each.get(key) is None]:
                    raise WrongError(f"{exports.show(each)} in {name}, without {', '.join(missing)}")
        groups = tuple(exports.text(group, "GroupId") for group in exports.objects(item, "Groups"))
        known = {"Groups": []} | _known(item, _shape())
        hidden = known.get("Operator", {}).get("HiddenByDefault", False)
        return Interface(number, groups, _addresses(item), exports.text(item, "OwnerId"), hidden, known)
    except WrongError as error:
        raise WrongError(f"interface {number} has {error}") from error


def _known(value: Any, shape: Any, name: str = "interface") -> Any:
    """Return what EC2 returns, without what is null and what its model does not know.

    :raises WrongError: a value is of another type.
    """
    if not isinstance(value, TYPES[shape.type_name]):
        raise WrongError(f"the {name} {exports.show(value)}, which is no {shape.type_name}")
    if shape.type_name == "structure":
        known = shape.members
        return {key: _known(each, known[key], key) for key, each in value.items() if key in known and each is not None}
    if shape.type_name == "list":
        return [_known(each, shape.member, name) for each in value]
    return value


@cache
def _shape() -> Any:
    """Return EC2's shape of an interface."""
    return get_session().get_service_model("ec2").shape_for("NetworkInterface")


def _addresses(item: dict[str, Any]) -> tuple[Network, ...]:
    texts = {exports.text(item, "PrivateIpAddress")}
    for name, key in ADDRESSES.items():
        texts |= {exports.text(each, key) for each in exports.objects(item, name)}
    return tuple(_collapsed(_network(text) for text in texts if text))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise WrongError(f"the address {exports.show(text)}, which is not an address") from None


def _collapsed(networks: Iterable[Network]) -> Iterator[Network]:
    networks = list(networks)
    for version in (4, 6):
        of_version = (each for each in networks if each.version == version)
        yield from ipaddress.collapse_addresses(cast("Iterator[ipaddress.IPv4Network]", of_version))  # or of IPv6
