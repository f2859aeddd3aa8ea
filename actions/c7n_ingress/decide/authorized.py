"""The authorized networks: read them, and refuse those that would block people or let the internet in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from c7n_ingress.decide.openness import PRIVATE, WIDEST_PREFIX, are_open, is_open, unusable
from c7n_ingress.decide.rules import Network

DOCUMENTATION = tuple(
    ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)
"""Networks that nobody uses: RFC 5737, RFC 3849, RFC 9637."""

MOST_NETWORKS = 1000
"""The most rules that EC2 allows a security group, however high its quota is raised.
https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
"""

VPC = "vpc"
"""The word that means the networks of a group's VPCs."""

WORD = re.compile(rf"{VPC}|pl-[0-9a-f]+")
"""What means other networks: that word, and the id of a prefix list, which means its entries."""

PLACEHOLDER = re.compile(r"\{[\w-]+\}")
"""A value that a variable fills: `"{name}"`."""


def parse_list(values: object) -> list[Network]:
    """Return the networks of a list of CIDRs, each once, in the same order and without empty lines.

    :raises ValueError: names the value that cannot be used, and what to write instead.
    """
    if not isinstance(values, list | set):
        raise ValueError(f"{values!r:.80} is not a list of CIDRs")
    networks = list(dict.fromkeys(_network(value) for value in values if value != ""))
    if len(networks) > MOST_NETWORKS:
        raise ValueError(f"{len(networks)} networks, more than a security group can hold rules: {MOST_NETWORKS}")
    if are_open(networks):
        raise ValueError(
            f"{len(networks)} networks that are open to the internet together, such as {networks[0]}: authorize no "
            "more public addresses than a /8 holds (IPv6: a /16)"
        )
    if not networks:
        raise ValueError("no network is authorized: name at least one CIDR, such as the one of your office or VPN")
    return networks


def words(values: object) -> list[str]:
    """Return what a list authorizes by another name, each once: the word ``vpc``, and the ids of prefix lists."""
    listed = values if isinstance(values, list | set) else ()
    return list(dict.fromkeys(value for value in listed if isinstance(value, str) and WORD.fullmatch(value)))


def parse_fixed(values: object) -> list[Network]:
    """Return the networks that a list names by their CIDRs: all of them but those of :func:`words`.

    :raises ValueError: as :func:`parse_list` does; but the list may hold only words.
    """
    named = words(values)
    fixed = [value for value in values if value not in named] if isinstance(values, list | set) else values
    return parse_list(fixed) if fixed or not named else []


def resolved(values: Iterable[str], meanings: Mapping[str, Iterable[str] | str]) -> list[Network] | str:
    """Return the authorized networks of one group, in order of preference, or why they are not known, in a sentence.

    :param values: CIDRs and words.
    :param meanings: the CIDRs that a word means, which count where the word is written; or why that is not known.
    """
    if why := next((each for each in meanings.values() if isinstance(each, str)), None):
        return why
    try:
        return parse_list([cidr for value in values for cidr in meanings.get(value, [value])])
    except ValueError as error:
        return f"the networks of {', '.join(meanings)} cannot be authorized: {error}"


def of_prefix_list(list_id: str, cidrs: Iterable[str], *, examples_pass: bool) -> list[str] | str:
    """Return the CIDRs of a prefix list, by address, or why they cannot be authorized, in a sentence.

    :param examples_pass: whether networks of the documentation may be among them.
    """
    networks = sorted({ip_network(cidr, strict=False) for cidr in cidrs}, key=lambda each: (each.version, each))
    if not networks:
        return f"{list_id} has no entries: add your networks to it, or remove it from the authorized networks"
    found = list(map(str, networks))
    try:
        parse_list(found)
        if not examples_pass:
            refuse_documentation(networks)
    except ValueError as error:
        return f"{list_id} cannot be authorized: {error}"
    return found


def blocked_inside(networks: Iterable[Network]) -> str | None:
    """Return who is blocked inside the VPC, if no network is authorized that can be in a VPC."""
    if any(network.overlaps(own) for network in networks for own in PRIVATE):
        return None
    return (
        "neither 'vpc' nor a private network is authorized: clients and load balancers inside the VPC that come in "
        "through an open rule only will be blocked"
    )


def refuse_documentation(networks: Iterable[Network]) -> None:
    """Refuse networks that are examples from the documentation."""
    if examples := documentation(networks):
        raise ValueError(f"{examples[0]} is an example from the documentation, nobody's network: authorize your own")


def _network(text: object) -> Network:
    shown = f"{text!r:.80}"
    if not isinstance(text, str):
        raise ValueError(f"{shown} is not a CIDR: write text such as '10.0.0.0/8'")
    if "%" in text:  # ipaddress takes it
        raise ValueError(f"{shown} is not a CIDR: EC2 knows no interface after '%'; write the network without it")
    if PLACEHOLDER.fullmatch(text):
        raise ValueError(f"{shown} was not filled: add --vars-file settings.yml, or name a list in c7n-org's vars")
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(f"{shown} is not a CIDR: {_fix(text)}") from None
    if text.rpartition("/")[2] != str(network.prefixlen):
        raise ValueError(f"{shown} has no prefix length: write '{network}'")
    if what := unusable(network):
        raise ValueError(
            f"{shown} is {what}, and nobody comes from there: authorize a network of yours, such as your VPN's"
        )
    if is_open(network):
        raise ValueError(
            f"{shown} is itself open to the internet: IPv{network.version} networks may be "
            f"/{WIDEST_PREFIX[network.version]} at most"
        )
    return network


def _fix(text: str) -> str:
    try:
        return f"write '{ip_network(text, strict=False)}', without host bits"
    except ValueError:
        return "write an address, a slash and a prefix length, such as '10.0.0.0/8' or 'fd00::/8'"


def documentation(networks: Iterable[Network]) -> list[Network]:
    """Return those that overlap a documentation range."""
    return [network for network in networks if any(network.overlaps(example) for example in DOCUMENTATION)]


def missing_versions(networks: Iterable[Network]) -> list[int]:
    """Return the IP versions for which no network is authorized."""
    return sorted({4, 6} - {network.version for network in networks})
