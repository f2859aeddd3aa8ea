"""Security groups from a file, as `aws ec2 describe-security-groups` prints them."""

import datetime as dt
import ipaddress
import re
from collections import Counter
from pathlib import Path
from typing import Any

from mode.local import exports
from mode.local.exports import RefusedError, WrongError

COMMAND = "aws ec2 describe-security-groups --output json > groups.json"
SAMPLE = Path(__file__).with_name("groups.json")
NO_VPC = "vpc-00000000000000000"

Group = dict[str, Any]

# The lists of a permission, the field that says who is let in, and how that field is read.
SOURCES = {
    "IpRanges": ("CidrIp", ipaddress.IPv4Network),
    "Ipv6Ranges": ("CidrIpv6", ipaddress.IPv6Network),
    "PrefixListIds": ("PrefixListId", None),
    "UserIdGroupPairs": ("GroupId", None),
}
SOURCE_FIELDS = ("Description", "UserId", "GroupName", "VpcId", "VpcPeeringConnectionId", "PeeringStatus")
PORT_PROTOCOLS = {"tcp", "udp", "6", "17"}


def load(path: Path) -> list[Group]:
    """Read the groups of a file.

    Takes UTF-8 and UTF-16, with or without a byte order mark (PowerShell writes UTF-16), a bare list of groups
    (`--query SecurityGroups`), unknown fields, and null or nothing where a list belongs.

    Returns groups in the shape of DescribeSecurityGroups, holding the fields that matter here and every list; CIDRs are
    canonical, as EC2 stores them. Raises RefusedError.
    """
    return parse(exports.content(path, COMMAND), str(path))


def sample(today: dt.date) -> list[Group]:
    """Read the sample; its exemption ends thirty days from today, so that it holds whenever the demo is run."""
    ahead = today + dt.timedelta(days=30)
    return parse(SAMPLE.read_bytes().replace(b"{in-30-days}", ahead.isoformat().encode()), SAMPLE.name)


def parse(content: bytes, name: str) -> list[Group]:
    """Make groups of a file's content; the name is for what RefusedError says."""
    try:
        groups = _groups(exports.document(content))
        _unique(groups)
    except WrongError as error:
        raise RefusedError(name, str(error), COMMAND) from error
    return groups


def account(groups: list[Group]) -> str | None:
    """Return the account that owns most of the groups; None when the file does not say."""
    owners = Counter(group["OwnerId"] for group in groups if group["OwnerId"])
    return owners.most_common(1)[0][0] if owners else None


def region(groups: list[Group]) -> str | None:
    """Return the region that the groups' ARNs name (AWS CLI 2.20 and later print ARNs); None when they do not say."""
    arns = (re.match(r"arn:aws:ec2:([a-z0-9-]+):", group["SecurityGroupArn"]) for group in groups)
    return next((arn[1] for arn in arns if arn), None)


def _groups(document: Any) -> list[Group]:
    listed = exports.items(document, "SecurityGroups", "groups")
    if not listed:
        raise WrongError("holds no group: is it the right region?")
    if not any("IpPermissions" in item for item in listed):
        raise WrongError('no group has "IpPermissions": a --query projection, or a list of something else?')
    return [_group(item, position) for position, item in enumerate(listed, start=1)]


def _group(item: dict[str, Any], position: int) -> Group:
    group_id = item.get("GroupId")
    if group_id is None:
        raise WrongError(f'group {position} of the list has no "GroupId", only {exports.names(item)}')
    if not isinstance(group_id, str) or not re.fullmatch(r"sg-[0-9a-f]{8,17}", group_id):
        raise WrongError(f"group {position} of the list has the GroupId {exports.show(group_id)}, which is none")
    try:
        return {
            "GroupId": group_id,
            "GroupName": exports.text(item, "GroupName") or group_id,
            "Description": exports.text(item, "Description"),
            "OwnerId": exports.text(item, "OwnerId"),
            "VpcId": exports.text(item, "VpcId") or NO_VPC,
            "SecurityGroupArn": exports.text(item, "SecurityGroupArn"),
            "Tags": [
                {"Key": exports.text(tag, "Key"), "Value": exports.text(tag, "Value")}
                for tag in exports.objects(item, "Tags")
            ],
            "IpPermissions": [_permission(entry) for entry in exports.objects(item, "IpPermissions")],
            "IpPermissionsEgress": [_permission(entry) for entry in exports.objects(item, "IpPermissionsEgress")],
        }
    except WrongError as error:
        raise WrongError(f"group {group_id} has {error}") from error


def _permission(entry: dict[str, Any]) -> dict[str, Any]:
    protocol = entry.get("IpProtocol")
    if not isinstance(protocol, str) or not re.fullmatch(r"-1|[a-z0-9]+", protocol):
        raise WrongError(f"the IpProtocol {exports.show(protocol)} in a rule")
    ports = {name: entry[name] for name in ("FromPort", "ToPort") if entry.get(name) is not None}
    for name, port in ports.items():
        if type(port) is not int or not -1 <= port <= 65535:  # noqa: PLR2004 - the range of ports
            raise WrongError(f"the {name} {exports.show(port)} in a rule")
    if protocol in PORT_PROTOCOLS and len(ports) < 2:  # noqa: PLR2004 - from, to
        raise WrongError(f"a {protocol} rule without FromPort and ToPort")
    return {"IpProtocol": protocol, **ports, **{name: _sources(entry, name) for name in SOURCES}}


def _sources(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return one list of a permission, canonical and each source once, as EC2 stores it."""
    field, network = SOURCES[name]
    sources: dict[tuple[str, str], dict[str, Any]] = {}
    for source in exports.objects(entry, name):
        value = exports.text(source, field)
        if network:
            value = _canonical(value, field, network)
        texts = {key: exports.text(source, key) for key in SOURCE_FIELDS}
        kept = {field: value, **{key: text for key, text in texts.items() if text}}
        sources.setdefault((value, exports.text(source, "UserId")), kept)
    return list(sources.values())


def _canonical(value: str, field: str, network: type[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str:
    try:
        return str(network(value, strict=False))
    except ValueError:
        raise WrongError(f"the {field} {exports.show(value)} in a rule, which is no CIDR of its kind") from None


def _unique(groups: list[Group]) -> None:
    times = Counter(group["GroupId"] for group in groups)
    group_id, count = times.most_common(1)[0]
    if count > 1:
        raise WrongError(f"group {group_id} stands {count} times in it")
