"""The authorized networks of each group: what the words in their list mean at this moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from c7n_ingress.aws import prefix_lists, vpcs
from c7n_ingress.decide.authorized import VPC, of_prefix_list, resolved, words
from c7n_ingress.decide.rules import Network


class Authorized(NamedTuple):
    """The networks that replace an open source, in order of preference, or why they are not known, in a sentence."""

    of_all: list[Network] | str | None
    """Those of every group; None if the word ``vpc`` is among them."""
    of_group: Mapping[str, list[Network] | str]
    """Those of each group, by its id, if it is."""
    left_out: Mapping[str, Sequence[str]]
    """Which other VPCs' networks are missing in a group, and why, by its id: one sentence each."""

    def of(self, group_id: str) -> list[Network] | str:
        """Return those of a group.

        :raises KeyError: they were not read. No networks would mean that nothing replaces an open source.
        """
        return self.of_group[group_id] if self.of_all is None else self.of_all


def read(
    client: Any, values: Sequence[str], groups: Iterable[Mapping[str, Any]], *, examples_pass: bool = False
) -> Authorized:
    """Read the entries of prefix lists, and the networks of the groups' VPCs, as far as the list has words for them.

    :param values: CIDRs and words.
    :param examples_pass: whether networks of the documentation may be among the entries of prefix lists.
    """
    named = words(values)
    entries = {each: prefix_lists.entries(client, each) for each in named if each != VPC}
    lists = {
        list_id: found if isinstance(found, str) else of_prefix_list(list_id, found, examples_pass=examples_pass)
        for list_id, found in entries.items()
    }
    if VPC not in named:
        return Authorized(resolved(values, lists), {}, {})
    inside = vpcs.inside(client, groups)
    of_group = {group_id: resolved(values, lists | {VPC: each.cidrs}) for group_id, each in inside.items()}
    return Authorized(None, of_group, {group_id: each.left_out for group_id, each in inside.items()})
