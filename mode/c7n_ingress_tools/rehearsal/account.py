"""What a rehearsal knows of an account: the content of the user's files, or the sample."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from c7n_ingress_tools.rehearsal.groups import Group
    from c7n_ingress_tools.rehearsal.interfaces import Interface


class Account(NamedTuple):
    """The security groups of one account and region, and what they use; empty what is not known."""

    groups: list[Group]
    interfaces: Sequence[Interface] = ()
    vpcs: Sequence[dict[str, Any]] = ()
    prefix_lists: Mapping[str, Sequence[str]] = MappingProxyType({})  # the CIDRs of prefix lists, by id
