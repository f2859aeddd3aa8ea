"""Security groups from a file, as `aws ec2 describe-security-groups` prints them."""

import datetime as dt
import ipaddress
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

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
UNSPEAKABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML, so in EC2's answers
PORT_PROTOCOLS = {"tcp", "udp", "6", "17"}


class RefusedError(ValueError):
    """The file is not what it should be: one line that says what is wrong and which command prints the right thing."""

    def __init__(self, name: str | Path, what: str) -> None:
        super().__init__(" ".join(f"{name}: {what}. This prints the right thing: {COMMAND}".split()))


class _WrongError(ValueError):
    """What is wrong with the file's content."""


def load(path: Path) -> list[Group]:
    """Read the groups of a file.

    Takes UTF-8 and UTF-16, with or without a byte order mark (PowerShell writes UTF-16), a bare list of groups
    (`--query SecurityGroups`), unknown fields, and null or nothing where a list belongs.

    Returns groups in the shape of DescribeSecurityGroups, holding the fields that matter here and every list; CIDRs are
    canonical, as EC2 stores them. Raises RefusedError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RefusedError(path, "there is no such file") from None
    except OSError as error:
        raise RefusedError(path, f"cannot be read ({error.strerror})") from error
    return parse(content, str(path))


def sample(today: dt.date) -> list[Group]:
    """Read the sample; its exemption ends thirty days from today, so that it holds whenever the demo is run."""
    ahead = today + dt.timedelta(days=30)
    return parse(SAMPLE.read_bytes().replace(b"{in-30-days}", ahead.isoformat().encode()), SAMPLE.name)


def parse(content: bytes, name: str) -> list[Group]:
    """Make groups of a file's content; the name is for what RefusedError says."""
    try:
        groups = _groups(_document(content))
        _unique(groups)
    except _WrongError as error:
        raise RefusedError(name, str(error)) from error
    return groups


def account(groups: list[Group]) -> str | None:
    """Return the account that owns most of the groups; None when the file does not say."""
    owners = Counter(group["OwnerId"] for group in groups if group["OwnerId"])
    return owners.most_common(1)[0][0] if owners else None


def region(groups: list[Group]) -> str | None:
    """Return the region that the groups' ARNs name (AWS CLI 2.20 and later print ARNs); None when they do not say."""
    arns = (re.match(r"arn:aws:ec2:([a-z0-9-]+):", group["SecurityGroupArn"]) for group in groups)
    return next((arn[1] for arn in arns if arn), None)


def _document(content: bytes) -> Any:
    if not content.strip():
        raise _WrongError("the file is empty")
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        raise _WrongError(
            f"neither UTF-8 nor UTF-16 (byte {error.start + 1} is 0x{content[error.start]:02x})"
        ) from error
    except json.JSONDecodeError as error:
        raise _WrongError(f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise _WrongError(f"no JSON that can be read ({error})") from error


def _groups(document: Any) -> list[Group]:
    if isinstance(document, dict) and "SecurityGroups" not in document:
        raise _WrongError(f'has {_names(document)}, but no "SecurityGroups"')
    listed = document["SecurityGroups"] if isinstance(document, dict) else document
    if not isinstance(listed, list):
        raise _WrongError(f"holds {_show(listed)} where the list of groups belongs: a --query projection?")
    for item in listed:
        if not isinstance(item, dict):
            raise _WrongError(f"a list of {_kind(item)} like {_show(item)}, not of groups: a --query projection?")
    if not listed:
        raise _WrongError("holds no group: is it the right region?")
    if not any("IpPermissions" in item for item in listed):
        raise _WrongError('no group has "IpPermissions": a --query projection, or a list of something else?')
    return [_group(item, position) for position, item in enumerate(listed, start=1)]


def _group(item: dict[str, Any], position: int) -> Group:
    group_id = item.get("GroupId")
    if group_id is None:
        raise _WrongError(f'group {position} of the list has no "GroupId", only {_names(item)}')
    if not isinstance(group_id, str) or not re.fullmatch(r"sg-[0-9a-f]{8,17}", group_id):
        raise _WrongError(f"group {position} of the list has the GroupId {_show(group_id)}, which is none")
    try:
        return {
            "GroupId": group_id,
            "GroupName": _text(item, "GroupName") or group_id,
            "Description": _text(item, "Description"),
            "OwnerId": _text(item, "OwnerId"),
            "VpcId": _text(item, "VpcId") or NO_VPC,
            "SecurityGroupArn": _text(item, "SecurityGroupArn"),
            "Tags": [{"Key": _text(tag, "Key"), "Value": _text(tag, "Value")} for tag in _objects(item, "Tags")],
            "IpPermissions": [_permission(entry) for entry in _objects(item, "IpPermissions")],
            "IpPermissionsEgress": [_permission(entry) for entry in _objects(item, "IpPermissionsEgress")],
        }
    except _WrongError as error:
        raise _WrongError(f"group {group_id} has {error}") from error


def _permission(entry: dict[str, Any]) -> dict[str, Any]:
    protocol = entry.get("IpProtocol")
    if not isinstance(protocol, str) or not re.fullmatch(r"-1|[a-z0-9]+", protocol):
        raise _WrongError(f"the IpProtocol {_show(protocol)} in a rule")
    ports = {name: entry[name] for name in ("FromPort", "ToPort") if entry.get(name) is not None}
    for name, port in ports.items():
        if type(port) is not int or not -1 <= port <= 65535:  # noqa: PLR2004 - the range of ports
            raise _WrongError(f"the {name} {_show(port)} in a rule")
    if protocol in PORT_PROTOCOLS and len(ports) < 2:  # noqa: PLR2004 - from, to
        raise _WrongError(f"a {protocol} rule without FromPort and ToPort")
    return {"IpProtocol": protocol, **ports, **{name: _sources(entry, name) for name in SOURCES}}


def _sources(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return one list of a permission, canonical and each source once, as EC2 stores it."""
    field, network = SOURCES[name]
    sources: dict[tuple[str, str], dict[str, Any]] = {}
    for source in _objects(entry, name):
        value = _text(source, field)
        if network:
            value = _canonical(value, field, network)
        texts = {key: _text(source, key) for key in SOURCE_FIELDS}
        kept = {field: value, **{key: text for key, text in texts.items() if text}}
        sources.setdefault((value, _text(source, "UserId")), kept)
    return list(sources.values())


def _canonical(value: str, field: str, network: type[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str:
    try:
        return str(network(value, strict=False))
    except ValueError:
        raise _WrongError(f"the {field} {_show(value)} in a rule, which is no CIDR of its kind") from None


def _unique(groups: list[Group]) -> None:
    times = Counter(group["GroupId"] for group in groups)
    group_id, count = times.most_common(1)[0]
    if count > 1:
        raise _WrongError(f"group {group_id} stands {count} times in it")


def _objects(item: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = item.get(name) or []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise _WrongError(f"the {name} {_show(value)}, which is no list of objects")
    return value


def _text(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise _WrongError(f"the {name} {_show(value)}, which is no text")
    if value and UNSPEAKABLE.search(value):
        raise _WrongError(f"the {name} {_show(value)}, with a character that EC2 cannot have answered")
    return value or ""


def _names(item: dict[str, Any]) -> str:
    return ", ".join(_show(name) for name in list(item)[:3]) or "nothing"


def _kind(value: Any) -> str:
    return {list: "lists", str: "texts", int: "numbers", float: "numbers", bool: "booleans"}.get(type(value), "nulls")


def _show(value: Any) -> str:
    """Return a value as JSON, cut to a length that fits into one line."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - what fits
