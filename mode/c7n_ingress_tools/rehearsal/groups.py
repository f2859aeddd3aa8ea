"""Security groups from a file, as `aws ec2 describe-security-groups` prints them."""

import datetime as dt
import ipaddress
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from botocore.session import get_session

from c7n_ingress.decide.rules import PROTOCOL_NAMES
from c7n_ingress_tools.rehearsal import exports
from c7n_ingress_tools.rehearsal.exports import RefusedError, WrongError

COMMAND = "aws ec2 describe-security-groups --output json > groups.json"
SAMPLE = Path(__file__).with_name("groups.json")
NO_VPC = "vpc-00000000000000000"

Group = dict[str, Any]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Listing(NamedTuple):
    """A list of a permission that holds sources."""

    field: str
    """The field of an entry that says who is let in."""
    kind: str
    """What is in this field, in words."""
    pattern: str
    """What it looks like."""
    network: type[Network] | None = None
    """What reads it, if it is a network."""
    other_names: tuple[str, ...] = ()
    """What else the list is called, and the field."""
    other_fields: tuple[str, ...] = ()


# Other names: AWS Tools for PowerShell print these fields as the AWS SDK for .NET names them. There, `Ipv4Ranges` has
# the objects, and `IpRanges` is a list of texts or absent; so it is in the SDK for Java:
# https://docs.aws.amazon.com/goto/SdkForJava/ec2-2016-11-15/IpPermission
LISTINGS = {
    "IpRanges": Listing("CidrIp", "an IPv4 network", r"[\d.]+/\d+", ipaddress.IPv4Network, ("Ipv4Ranges",)),
    "Ipv6Ranges": Listing("CidrIpv6", "an IPv6 network", r"[\da-fA-F:.]+/\d+", ipaddress.IPv6Network),
    "PrefixListIds": Listing("PrefixListId", "a prefix list's id", r"pl-[0-9a-f]+", other_fields=("Id",)),
    "UserIdGroupPairs": Listing("GroupId", "a group's id", r"sg-[0-9a-f]+"),
}
OTHER_NAMES = {name for each in LISTINGS.values() for name in each.other_names}
SOURCE_FIELDS = ("Description", "UserId", "GroupName", "VpcId", "VpcPeeringConnectionId", "PeeringStatus")
TRAFFIC_FIELDS = ("IpProtocol", "FromPort", "ToPort")

PORTS = {"tcp": range(65536), "udp": range(65536), "icmp": range(-1, 256), "icmpv6": range(-1, 256)}
"""What may be in FromPort and ToPort: ports, or ICMP's type and code, where -1 is all. Other protocols have none."""


def load(path: Path) -> list[Group]:
    """Read the groups of a file.

    Takes UTF-8 and UTF-16, with or without a byte order mark (PowerShell writes UTF-16), a bare list of groups
    (`--query SecurityGroups`), unknown fields, and null or nothing where a list belongs.

    :returns: groups in the shape of DescribeSecurityGroups, with the fields that matter here and every list; CIDRs are
        canonical, as EC2 stores them.
    :raises RefusedError: the file cannot be used.
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
        _check(groups)
    except WrongError as error:
        raise RefusedError(name, str(error), COMMAND) from error
    return groups


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


def _groups(document: Any) -> list[Group]:
    listed = exports.items(document, "SecurityGroups", "groups")
    if not listed:
        raise WrongError("holds no group: is it the right region?")
    if all(item.get("IpPermissions") is None for item in listed):
        raise WrongError('no group has "IpPermissions": a --query projection, or a list of something else?')
    return [_group(item, position) for position, item in enumerate(listed, start=1)]


def _group(item: dict[str, Any], position: int) -> Group:
    group_id = item.get("GroupId")
    if group_id is None:
        raise WrongError(f'group {position} of the list has no "GroupId", only {exports.names(item)}')
    if not isinstance(group_id, str) or not re.fullmatch(r"sg-[0-9a-f]{8,17}", group_id):
        raise WrongError(
            f"group {position} of the list has the GroupId {exports.show(group_id)}, which is not a group id"
        )
    if "IpPermissions" not in item:
        raise WrongError(f'group {group_id} has no "IpPermissions", only {exports.names(item)}: a --query projection?')
    try:
        return {
            "GroupId": group_id,
            "GroupName": exports.text(item, "GroupName") or group_id,
            "Description": exports.text(item, "Description"),
            "OwnerId": exports.account(item, "OwnerId"),
            "VpcId": exports.text(item, "VpcId") or NO_VPC,
            "SecurityGroupArn": exports.text(item, "SecurityGroupArn"),
            "Tags": [
                {"Key": exports.text(tag, "Key"), "Value": exports.text(tag, "Value")}
                for tag in exports.objects(item, "Tags")
            ],
            "IpPermissions": _permissions(item, "IpPermissions"),
            "IpPermissionsEgress": _permissions(item, "IpPermissionsEgress"),
        }
    except WrongError as error:
        raise WrongError(f"group {group_id} has {error}") from error


def _permissions(item: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the permissions of one direction, each protocol and ports once, as EC2 describes them."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in exports.objects(item, name):
        permission = _permission(entry)
        first = merged.setdefault(tuple(permission.get(field) for field in TRAFFIC_FIELDS), permission)
        for listing, each in LISTINGS.items():
            known = {source[each.field] for source in first[listing]}
            first[listing] += [source for source in permission[listing] if source[each.field] not in known]
    return list(merged.values())


def _permission(entry: dict[str, Any]) -> dict[str, Any]:
    """Return one permission. Every rule has a source in EC2, so one without a source is not understood."""
    traffic = _traffic(entry)
    sources = {name: _sources(entry, name) for name in LISTINGS}
    if not any(sources.values()):
        raise WrongError(f"a rule that names no source, only {exports.names(entry)}: a --query projection?")
    _refuse_networks(entry, {*TRAFFIC_FIELDS, *LISTINGS, *OTHER_NAMES})
    return traffic | sources


def _traffic(entry: dict[str, Any]) -> dict[str, Any]:
    """Return protocol and ports, as EC2 stores them."""
    protocol = entry.get("IpProtocol")
    protocol = PROTOCOL_NAMES.get(protocol, protocol) if isinstance(protocol, str) else None
    numbers = map(str, range(256))
    if protocol not in {"-1", *PORTS, *numbers}:
        raise WrongError(f"the IpProtocol {exports.show(entry.get('IpProtocol'))} in a rule")
    if protocol not in PORTS:
        return {"IpProtocol": protocol}
    ports = {name: entry[name] for name in ("FromPort", "ToPort") if entry.get(name) is not None}
    if not ports and protocol == "icmpv6":
        return {"IpProtocol": protocol, "FromPort": -1, "ToPort": -1}
    if len(ports) < 2:  # noqa: PLR2004 - from, to
        raise WrongError(f"a rule for {protocol} without FromPort and ToPort")
    for name, port in ports.items():
        if type(port) is not int or port not in PORTS[protocol]:
            raise WrongError(f"the {name} {exports.show(port)} in a rule")
    if protocol in {"tcp", "udp"} and ports["FromPort"] > ports["ToPort"]:
        raise WrongError(f"a rule for {protocol} from port {ports['FromPort']} to port {ports['ToPort']}")
    return {"IpProtocol": protocol, **ports}


def _sources(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return one list of a permission, canonical and each source once, as EC2 stores it."""
    listing = LISTINGS[name]
    sources: dict[str, dict[str, Any]] = {}
    for source in _listed(entry, name):
        field = next((each for each in listing.other_fields if each in source), listing.field)
        value = _canonical(exports.text(source, field), listing)
        _refuse_networks(source, {field, *SOURCE_FIELDS})
        texts = {key: exports.text(source, key) for key in SOURCE_FIELDS}
        sources.setdefault(value, {listing.field: value, **{key: text for key, text in texts.items() if text}})
    return list(sources.values())


def _listed(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a list, under all of its names; a text is a source without a description."""
    listing = LISTINGS[name]
    others = [each for other in listing.other_names for each in exports.objects(entry, other)]
    listed = entry.get(name)
    if listing.other_names and isinstance(listed, list) and all(isinstance(each, str) for each in listed):
        return [*others, *({listing.field: each} for each in listed)]
    return [*exports.objects(entry, name), *others]


def _canonical(value: str, listing: Listing) -> str:
    if re.fullmatch(listing.pattern, value, re.ASCII):
        with suppress(ValueError):
            return str(listing.network(value, strict=False)) if listing.network else value
    raise WrongError(f"the {listing.field} {exports.show(value)} in a rule, which is not {listing.kind}")


def _refuse_networks(entry: dict[str, Any], known: set[str]) -> None:
    """Refuse a field that EC2 has not, if a network is in it: this may be a source that is not understood."""
    for field in entry.keys() - known:
        if network := next(filter(_is_network, exports.texts(entry[field])), None):
            raise WrongError(f"{exports.show(network)} in the field {exports.show(field)} of a rule, which EC2 has not")


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _check(groups: list[Group]) -> None:
    """Check that one account and region can have the groups.

    :raises WrongError: it cannot.
    """
    times = Counter(group["GroupId"] for group in groups)
    group_id, count = times.most_common(1)[0]
    if count > 1:
        raise WrongError(f"has group {group_id} {count} times")
    regions = _regions(groups)
    if len(regions) > 1:
        raise WrongError(f"has groups of several regions, {', '.join(regions)}: rehearse one region at a time")
    session = get_session()
    for each in regions:
        known = (session.get_available_regions("ec2", partition) for partition in session.get_available_partitions())
        if not any(each in names for names in known):
            raise WrongError(f"has groups of the region {each}, which the installed boto3 does not know: upgrade boto3")
