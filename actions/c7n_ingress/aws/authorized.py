"""The authorized networks of each group: what the words in their list mean at this moment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from c7n_ingress.aws import prefix_lists, vpcs
from c7n_ingress.decide.authorized import VPC, of_prefix_list, resolved, words
from c7n_ingress.decide.rules import Network


class Authorized(NamedTuple):
    """What replaces an open source in each group."""

    of: Mapping[str, list[Network] | str]
    """The networks by the group's id, in order of preference, or why they are not known, in a sentence."""
    left_out: Mapping[str, Sequence[str]]
    """Which other VPCs' networks are missing in a group, and why, by its id: one sentence each."""


def read(
    client: Any, values: Sequence[str], groups: Collection[Mapping[str, Any]], *, examples_pass: bool = False
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
        return Authorized(dict.fromkeys((group["GroupId"] for group in groups), resolved(values, lists)), {})
    inside = vpcs.inside(client, groups)
    networks = {group_id: resolved(values, lists | {VPC: each.cidrs}) for group_id, each in inside.items()}
    return Authorized(networks, {group_id: each.left_out for group_id, each in inside.items()})
