"""What a rehearsal knows of an account: the content of the user's files, or the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from c7n_ingress_tools.rehearsal.groups import Group
    from c7n_ingress_tools.rehearsal.interfaces import Interface


class Account(NamedTuple):
    """The security groups of one account and region, their interfaces and their VPCs; empty what is not known."""

    groups: list[Group]
    interfaces: Sequence[Interface] = ()
    vpcs: Sequence[dict[str, Any]] = ()
