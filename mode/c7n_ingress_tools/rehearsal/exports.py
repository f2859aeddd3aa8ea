"""What the AWS CLI printed as JSON: a list that a `describe` call of EC2 returns, checked by botocore's model of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.session import get_session
from botocore.utils import parse_timestamp

from c7n_ingress_tools.errors import CommandError

if TYPE_CHECKING:
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
    "SecurityGroup": ("GroupId", "IpPermissions"),
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

NETWORK = (ip_network, "a network or an address")
FORMATS: dict[str, tuple[Callable[[str], Any], str]] = {
    "GroupId": (re.compile("sg-[0-9a-f]+").fullmatch, "a group's id"),
    "NetworkInterfaceId": (re.compile("eni-[0-9a-f]{8,17}").fullmatch, "an interface's id"),
    "PrefixListId": (re.compile("pl-[0-9a-f]+").fullmatch, "a prefix list's id"),
    "VpcId": (re.compile("vpc-[0-9a-f]+").fullmatch, "a VPC's id"),
    "OwnerId": (re.compile("([0-9]{12})?").fullmatch, "an account id of 12 digits: correct it, or remove it"),
    "CidrBlock": NETWORK,
    "Ipv6CidrBlock": NETWORK,
    "PrivateIpAddress": NETWORK,
    "Ipv6Address": NETWORK,
    "Ipv4Prefix": NETWORK,
    "Ipv6Prefix": NETWORK,
}
"""By a text's field: what reads the text, and what the text is. A reader returns None or raises if it cannot."""


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
    """What one thing is called here."""
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
        :param name: the file's, for the error.
        """
        identity = NEEDED[self.shape][0]
        try:
            found = [self._item(item) for item in self._listed(content)]
            (most, times), *_ = Counter(item[identity] for item in found).most_common(1)
            if times > 1:
                raise WrongError(f"has {self.kind} {most} {times} times")
        except WrongError as error:
            raise self.refused(name, str(error)) from error
        return found

    def refused(self, name: str | Path, what: str) -> CommandError:
        """Return the error for a file that cannot be used, with the command that prints the right thing."""
        return CommandError(" ".join(f"{name}: {what}. This prints the right thing: {self.command}".split()))

    def _listed(self, content: bytes) -> list[dict[str, Any]]:
        """Return the list of objects under the key, or the list that is the whole document (`--query`)."""
        if not content.strip():
            raise WrongError("the file is empty")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise WrongError(f"not JSON in UTF-8 or UTF-16 ({error})") from error
        if isinstance(document, dict) and document.get("NextToken"):
            raise WrongError(f'has a "NextToken", so it is not all {self.kind}s: leave out --max-items, --no-paginate')
        listed = document.get(self.key) if isinstance(document, dict) else document
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise WrongError(f"holds {show(document)} where the list of {self.kind}s belongs")
        if not listed:
            raise WrongError(f"holds no {self.kind}: check the region")
        return listed

    def _item(self, item: dict[str, Any]) -> dict[str, Any]:
        try:
            known: dict[str, Any] = _known(item, _model().shape_for(self.shape), self.kind)
        except WrongError as error:
            named = show(item.get(NEEDED[self.shape][0])).strip('"')
            raise WrongError(f"{self.kind} {named} has {error}") from error
        return known


def show(value: Any) -> str:
    """Return a value as JSON, cut to a length that fits into one line."""
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"  # noqa: PLR2004 - what fits


@cache
def _model() -> ServiceModel:
    return get_session().get_service_model("ec2")


def _known(value: Any, shape: Any, name: str, *, exact: bool = False) -> Any:
    """Return what EC2's model knows of a value.

    :param exact: whether other fields are refused, as in a rule: there, they may be a source that is not understood.
    """
    kind, word = TYPES[shape.type_name]
    if type(value) is not kind:
        raise WrongError(f"the {name} {show(value)}, which is not {word}")
    if shape.type_name == "structure":
        exact = exact or shape.name == "IpPermission"
        if exact and (unknown := sorted(value.keys() - shape.members.keys())):
            field = f"{show(unknown[0])} in {name}, a field that EC2's model in boto3 does not have"
            raise WrongError(f"{field}: if EC2 returned it, upgrade boto3")
        there = {key: each for key, each in value.items() if key in shape.members and each is not None}
        if missing := [each for each in NEEDED.get(shape.name, ()) if each not in there]:
            raise WrongError(f"{show(value)} in {name}, without {', '.join(missing)}")
        return {key: _known(each, shape.members[key], key, exact=exact) for key, each in there.items()}
    if shape.type_name == "list":
        return [_known(each, shape.member, name, exact=exact) for each in value]
    if shape.type_name == "timestamp":
        _check_text(value, name, parse_timestamp, "a time")
    elif shape.type_name == "string":
        _check_text(value, name, *FORMATS.get(name, (str, "")))
    return value


def _check_text(value: str, name: str, read: Callable[[str], Any], what: str) -> None:
    if UNSPEAKABLE.search(value):
        raise WrongError(f"the {name} {show(value)}, with a character that EC2 cannot have answered")
    try:
        fits = read(value) is not None
    except (ValueError, RuntimeError):
        fits = False
    if not fits:
        raise WrongError(f"the {name} {show(value)}, which is not {what}")
