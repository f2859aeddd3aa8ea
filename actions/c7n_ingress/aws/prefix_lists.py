"""Prefix lists as EC2 lists them at this moment."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError
from c7n.exceptions import ClientError

from c7n_ingress.aws.calls import LIST_PAGE_SIZE, NO_LIST, described, error_code, pages, said
from c7n_ingress.decide.rules import VERSIONS, Network, network

log = logging.getLogger("custodian.filters")

PERMISSIONS = ("ec2:GetManagedPrefixListEntries",)
"""What reading the entries of lists needs."""

NO_SUCH_LIST = (
    "EC2 lists no such prefix list; it was deleted, or its owner does not share it with this account any more: share "
    "it again, or authorize another"
)


class PrefixList(NamedTuple):
    """The content of a customer-managed prefix list."""

    family: str | None = None
    """IPv4 or IPv6; AWS for one of AWS's, which counts as empty; None if it cannot be read."""
    networks: Sequence[Network] = ()
    unanswered: str | None = None
    """Why EC2 did not return the list, if so."""

    @property
    def noted(self) -> int | str | None:
        """What the filter ``open-ingress`` notes of the list, see ``PREFIX_LISTS``."""
        return VERSIONS[self.family] if self.family else self.unanswered


def referenced(groups: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the prefix lists that the groups' ingress rules refer to."""
    return {
        reference["PrefixListId"]
        for group in groups
        for permission in group.get("IpPermissions") or ()
        for reference in permission.get("PrefixListIds") or ()
        if "PrefixListId" in reference
    }


def prefix_lists(client: Any, list_ids: Collection[str]) -> dict[str, PrefixList]:
    """Return prefix lists by id. One that EC2 does not return has the reason.

    https://docs.aws.amazon.com/vpc/latest/userguide/sharing-perms.html: an account that a list is shared with can read
    its entries until the sharing ends. Its rules still refer to the list after that.
    """
    request = ("describe_managed_prefix_lists", "PrefixLists", "prefix-list-id", list_ids)
    try:
        shapes = list(described(client, *request, MaxResults=LIST_PAGE_SIZE))
    except (ClientError, BotoCoreError) as error:
        log.exception("prefix lists could not be looked up")
        return dict.fromkeys(list_ids, PrefixList(unanswered=said(error)))
    return dict.fromkeys(list_ids, PrefixList()) | {each["PrefixListId"]: _read(client, each) for each in shapes}


def _read(client: Any, shape: Mapping[str, Any]) -> PrefixList:
    if shape["OwnerId"] == "AWS":  # such as CloudFront's: it holds AWS's own addresses
        return PrefixList("AWS")
    try:
        cidrs = cidrs_of(client, shape["PrefixListId"])
    except (ClientError, BotoCoreError) as error:
        if _is_unknown(error):
            return PrefixList()
        log.exception("%s could not be read", shape["PrefixListId"])
        return PrefixList(unanswered=said(error))
    return PrefixList(shape["AddressFamily"], list(map(network, cidrs)))


def entries(client: Any, list_id: str) -> list[str] | str:
    """Return the CIDRs of a prefix list of any owner, or a sentence that says why they cannot be read."""
    try:
        return cidrs_of(client, list_id)
    except (ClientError, BotoCoreError) as error:  # reported for each group
        log.exception("%s could not be read", list_id)
        return f"{list_id} cannot be read: {NO_SUCH_LIST if _is_unknown(error) else said(error)}"


def cidrs_of(client: Any, list_id: str) -> list[str]:
    """Return the CIDRs of a prefix list of any owner."""
    arguments = {"MaxResults": LIST_PAGE_SIZE, "PrefixListId": list_id}
    return [entry["Cidr"] for entry in pages(client, "get_managed_prefix_list_entries", "Entries", **arguments)]


def _is_unknown(error: Exception) -> bool:
    return isinstance(error, ClientError) and error_code(error) in NO_LIST
