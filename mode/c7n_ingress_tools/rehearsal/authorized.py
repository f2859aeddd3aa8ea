"""The networks that a rehearsal authorizes: its user's own, those in the policy, or examples.

>>> chosen(["203.0.113.0/24", "vpc"], [], known=["vpc"]).words
"198.18.7.0/24, the networks of each group's VPC (examples, not yours)"
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from c7n_ingress.decide.authorized import VPC, documentation, parse_fixed, refuse_documentation, words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

STAND_INS = {4: "198.18.7.0/24", 6: "2001:2:0:7::/64"}
"""Examples that the action takes, while it refuses documentation networks: nobody has them (RFC 2544, RFC 5180)."""

SAMPLE = "203.0.113.0/24,2001:db8:7::/64"
"""What to write, in networks that a run refuses."""


class Authorized(NamedTuple):
    """What `authorized` of the action is in a rehearsal."""

    values: tuple[str, ...]
    are_examples: bool
    left_out: tuple[str, ...] = ()
    """The words that are left out: `vpc`, and the ids of prefix lists."""

    @property
    def words(self) -> str:
        """Return the networks in words, and that they are examples if one of them is."""
        named = ["the networks of each group's VPC" if each == VPC else each for each in self.values]
        return ", ".join(named) + (" (examples, not yours)" if self.are_examples else "")


def own(texts: Iterable[str]) -> list[str]:
    """Read the networks that the user names, separated by commas or spaces.

    :raises ValueError: as the action does for the same networks: the message names the value and the fix.
    """
    values = [value for text in texts for value in re.split(r"[,\s]+", text) if value]
    refuse_documentation(parse_fixed(values))
    return values


def wanted(policy: object, named: Sequence[str]) -> list[str]:
    """Return the authorized networks and words, in order of preference.

    :param policy: `authorized` of the policy's action, if it is a list; documentation networks there are examples.
    :param named: the user's own networks, which replace those of the policy. Its word `vpc` stays.
    """
    listed = [each for each in policy if isinstance(each, str)] if isinstance(policy, list) else [*STAND_INS.values()]
    return [*named, *(each for each in listed if each == VPC)] if named else [_stand_in(each) for each in listed]


def chosen(policy: object, named: Sequence[str], *, known: Collection[str]) -> Authorized:
    """Choose what to authorize, of what is :func:`wanted`.

    :param known: the words whose networks are known; the others are left out.
    """
    listed = wanted(policy, named)
    left_out = tuple(word for word in words(listed) if word not in known)
    values = tuple(dict.fromkeys(each for each in listed if each not in left_out))
    return Authorized(values, not named and any(each in STAND_INS.values() for each in values), left_out)


def _stand_in(value: str) -> str:
    try:
        network = ip_network(value)
    except ValueError:  # a word, or what the action refuses
        return value
    return STAND_INS[network.version] if documentation([network]) else value
