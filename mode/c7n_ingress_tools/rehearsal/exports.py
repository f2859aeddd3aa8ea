"""What the AWS CLI printed as JSON: a list that a `describe` call of EC2 returns, checked by botocore's model of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.session import get_session
from botocore.utils import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.model import ServiceModel

UNSPEAKABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold, and so EC2's answers cannot."""

TYPES: dict[str, tuple[Any, str]] = {
    "structure": (dict, "an object"),
    "list": (list, "a list"),
    "string": (str, "text"),
    "boolean": (bool, "a boolean"),
    "integer": (int, "a whole number"),
    "timestamp": (str, "text"),
}
"""How JSON has the types of EC2's model, and what they are called here."""

NEEDED = {
    "SecurityGroup": ("GroupId",),
    "IpRange": ("CidrIp",),
    "Ipv6Range": ("CidrIpv6",),
    "PrefixListId": ("PrefixListId",),
    "UserIdGroupPair": ("GroupId",),
    "Tag": ("Key", "Value"),
    "NetworkInterface": ("NetworkInterfaceId", "Groups"),
    "GroupIdentifier": ("GroupId",),
    "NetworkInterfacePrivateIpAddress": ("PrivateIpAddress",),
    "NetworkInterfaceIpv6Address": ("Ipv6Address",),
    "Ipv4PrefixSpecification": ("Ipv4Prefix",),
    "Ipv6PrefixSpecification": ("Ipv6Prefix",),
    "Vpc": ("VpcId", "CidrBlock"),
    "VpcCidrBlockAssociation": ("AssociationId", "CidrBlock", "CidrBlockState"),
    "VpcIpv6CidrBlockAssociation": ("AssociationId", "Ipv6CidrBlock", "Ipv6CidrBlockState"),
    "VpcCidrBlockState": ("State",),
}
"""What EC2 always returns of a structure, by its name in the model. The model does not say it."""

FORMATS = {
    "GroupId": ("sg-[0-9a-f]+", "a group's id"),
    "NetworkInterfaceId": ("eni-[0-9a-f]{8,17}", "an interface's id"),
    "PrefixListId": ("pl-[0-9a-f]+", "a prefix list's id"),
    "VpcId": ("vpc-[0-9a-f]+", "a VPC's id"),
    "OwnerId": (r"(\d{12})?", "an account id of 12 digits: correct it, or remove it"),
}
"""What texts look like, by their field, and what they are."""

NETWORKS = {"CidrBlock", "Ipv6CidrBlock", "PrivateIpAddress", "Ipv6Address", "Ipv4Prefix", "Ipv6Prefix"}


class UnusableError(ValueError):
    """The input cannot be used: one line that says why."""


class WrongError(ValueError):
    """What is wrong with the file's content."""


@dataclass(frozen=True)
class Export:
    """An export of one kind of thing."""

    key: str
    """What the call's answer has the list under."""
    shape: str
    """What one thing is called in EC2's model."""
    kind: str
    kinds: str
    """One thing, and several, in words."""
    needed: str
    """What each thing in the file has. A file in which all lack it is something else."""
    command: str

    def content(self, path: Path) -> bytes:
        """Return what is in a file."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise self.refused(path, f"cannot be read ({error.strerror})") from error

    def parse(self, content: bytes, name: str | Path) -> list[dict[str, Any]]:
        """Return what EC2 returned: the fields that its model knows, without what is null.

        :param content: in UTF-8 or UTF-16 (PowerShell writes it), with or without a byte order mark.
        """
        try:
            listed = self._listed(_document(content))
            if not listed:
                raise WrongError(f"holds no {self.kind}: is it the right region?")
            if all(item.get(self.needed) is None for item in listed):
                raise WrongError(
                    f'no {self.kind} has "{self.needed}": a --query projection, or a list of something else?'
                )
            found = [self._item(item, position) for position, item in enumerate(listed, start=1)]
            (most, times), *_ = Counter(item[self._id] for item in found).most_common(1)
            if times > 1:
                raise WrongError(f"has {self.kind} {most} {times} times")
        except WrongError as error:
            raise self.refused(name, str(error)) from error
        return found

    def refused(self, name: str | Path, what: str) -> UnusableError:
        """Return the error for a file that cannot be used, with the command that prints the right thing."""
        said = what if what.endswith("?") else f"{what}."
        return UnusableError(" ".join(f"{name}: {said} This prints the right thing: {self.command}".split()))

    @property
    def _id(self) -> str:
        """The field that names one thing."""
        return NEEDED[self.shape][0]

    def _listed(self, document: Any) -> list[dict[str, Any]]:
        """Return the list of objects under the key, or the list that is the whole document (`--query`)."""
        if isinstance(document, dict) and self.key not in document:
            raise WrongError(f'has {names(document)}, but no "{self.key}"')
        if isinstance(document, dict) and document.get("NextToken"):
            raise WrongError(f'has a "NextToken", so it is not all {self.kinds}: --max-items, or --no-paginate?')
        listed = document[self.key] if isinstance(document, dict) else document
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise WrongError(f"holds {show(listed)} where the list of {self.kinds} belongs: a --query projection?")
        return listed

    def _item(self, item: dict[str, Any], position: int) -> dict[str, Any]:
        has_id = re.fullmatch(FORMATS[self._id][0], str(item.get(self._id)), re.ASCII)
        named = f"{self.kind} {item[self._id]}" if has_id else f"{self.kind} {position} of the list"
        if self.needed not in item:
            raise WrongError(f'{named} has no "{self.needed}", only {names(item)}: a --query projection?')
        try:
            known: dict[str, Any] = _known(item, _model().shape_for(self.shape), self.kind)
        except WrongError as error:
            raise WrongError(f"{named} has {error}") from error
        return known


def names(item: dict[str, Any]) -> str:
    """Return the first names of an object."""
    return ", ".join(show(name) for name in list(item)[:3]) or "nothing"


def show(value: Any) -> str:
    """Return a value as JSON, cut to a length that fits into one line."""
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"  # noqa: PLR2004 - what fits


def _document(content: bytes) -> Any:
    if not content.strip():
        raise WrongError("the file is empty")
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} is 0x{content[error.start]:02x}"
        raise WrongError(f"neither UTF-8 nor UTF-16 ({byte})") from error
    except json.JSONDecodeError as error:
        raise WrongError(f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise WrongError(f"no JSON that can be read ({error})") from error


@cache
def _model() -> ServiceModel:
    return get_session().get_service_model("ec2")


def _known(value: Any, shape: Any, name: str) -> Any:
    """Return what EC2's model knows of a value."""
    kind, word = TYPES[shape.type_name]
    if type(value) is not kind:
        raise WrongError(f"the {name} {show(value)}, which is not {word}")
    if shape.type_name == "structure":
        there = {key: each for key, each in value.items() if key in shape.members and each is not None}
        if missing := [each for each in NEEDED.get(shape.name, ()) if each not in there]:
            raise WrongError(f"{show(value)} in {name}, without {', '.join(missing)}")
        known = {key: _known(each, shape.members[key], key) for key, each in there.items()}
        if shape.name == "IpPermission":
            _refuse_lost_networks(value, known)
        return known
    if shape.type_name == "list":
        return [_known(each, shape.member, name) for each in value]
    if shape.type_name == "timestamp" and not _is_time(value):
        raise WrongError(f"the {name} {show(value)}, which is not a time")
    return _text(value, name) if kind is str else value


def _refuse_lost_networks(permission: dict[str, Any], known: dict[str, Any]) -> None:
    """Refuse a network in a field that EC2 has not: this may be a source that is not understood."""
    for each in set(_texts(permission)) - set(_texts(known)):
        if _is_network(each, strict=False):
            raise WrongError(f"{show(each)} in a rule, in no field that EC2 has")


def _is_network(text: str, *, strict: bool) -> bool:
    try:
        ip_network(text, strict=strict)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    """Whether botocore takes a text for a time in an answer."""
    try:
        parse_timestamp(text)
    except (ValueError, RuntimeError):
        return False
    return True


def _texts(value: Any) -> Iterator[str]:
    """Return all texts and names in a value, however deep they are, except descriptions."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        value = [each for name, each in value.items() if name != "Description"]
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _text(value: str, name: str) -> str:
    if UNSPEAKABLE.search(value):
        raise WrongError(f"the {name} {show(value)}, with a character that EC2 cannot have answered")
    pattern, what = FORMATS.get(name, (".*", ""))
    if not re.fullmatch(pattern, value, re.ASCII | re.DOTALL):
        raise WrongError(f"the {name} {show(value)}, which is not {what}")
    if name in NETWORKS and not _is_network(value, strict=True):
        raise WrongError(f"the {name} {show(value)}, which is neither a network nor an address")
    return value
