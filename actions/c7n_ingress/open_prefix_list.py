"""The ``open-prefix-list`` filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Network, collapse_addresses, ip_network
from typing import Any

from c7n.exceptions import ClientError
from c7n.resources.vpc import SecurityGroup, SGPermission, SGPermissionSchema
from c7n.utils import chunks, local_session, type_schema

from c7n_ingress.authorized import WIDEST_PREFIX
from c7n_ingress.live import pages
from c7n_ingress.plan import Network
from c7n_ingress.rules import FAMILY

LISTS_A_CALL = 200
"""How many values EC2 takes in one filter of a describe call.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
"""

PAGE_SIZE = 100
"""The most items that EC2 gives in one answer (``MaxResults`` of both calls)."""

AWS = "AWS"
"""The owner of the lists that AWS keeps, such as CloudFront's: they hold AWS's own addresses."""

UNREADABLE = frozenset({"InvalidPrefixListID.NotFound", "UnauthorizedOperation"})
"""What EC2 says of a list that nobody here can read, be it for now or for good: that one list is told of."""

PRIVATE_V6 = IPv6Network("fc00::/7")

TRAFFIC_KEYS = ("IpProtocol", "FromPort", "ToPort", "Ports", "OnlyPorts")


@SecurityGroup.filter_registry.register("open-prefix-list")
class OpenPrefixList(SGPermission):  # type: ignore[misc]  # c7n ships no types
    """Match ingress rules whose source is a customer-managed prefix list that lets the internet in.

    So does a list that holds a range wider than /8 (IPv6: wider than /16, outside of fc00::/7), or entries that are as
    wide together: 0.0.0.0/1 and 128.0.0.0/1. The rules are annotated as the ``ingress`` filter does it, so that
    ``replace-ingress`` works on them. A list that another account no longer shares cannot be read, and counts as a
    match: whether it is open is for somebody to find out, and ``replace-ingress`` says so.

    Which traffic the rule is for is said with the ``ingress`` filter's own keys. EC2 is asked nothing where no rule
    refers to a prefix list, and for each list once a run.

    :example:

    .. code-block:: yaml

        policies:
          - name: open-ssh
            resource: aws.security-group
            filters:
              - or:
                  - {type: ingress, Ports: [22], Cidr: 0.0.0.0/0}
                  - {type: open-prefix-list, Ports: [22]}
            actions:
              - type: replace-ingress
                authorized: [198.18.7.0/24]
    """

    ip_permissions_key = "IpPermissions"
    schema = type_schema("open-prefix-list", **{key: SGPermissionSchema[key] for key in TRAFFIC_KEYS})
    permissions = ("ec2:DescribeManagedPrefixLists", "ec2:GetManagedPrefixListEntries")

    def __init__(self, data: dict[str, Any], manager: Any = None) -> None:
        super().__init__(data, manager)
        self.looked_at: set[str] = set()
        self.families: dict[str, str | None] = {}

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Read the lists that the groups refer to, those that no earlier call has read, and match the groups."""
        unread = referenced(resources) - self.looked_at
        if unread:
            client = local_session(self.manager.session_factory).client("ec2")
            self.families |= families_of_open(client, unread)
            self.looked_at |= unread
        return super().process(resources, event)  # type: ignore[no-any-return]

    def expand_permissions(self, permissions: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Give those permissions alone whose source is an open list, one each, with the list's family."""
        for permission in super().expand_permissions(permissions):
            for reference in permission["PrefixListIds"]:
                list_id = reference["PrefixListId"]
                if list_id in self.families:
                    yield {**permission, "PrefixListIds": [{**reference, FAMILY: self.families[list_id]}]}

    def process_cidrs(self, _perm: Mapping[str, Any]) -> bool:
        """Take the source as matched, as it is in all of the permissions that this filter looks at."""
        return True


def referenced(groups: Iterable[Mapping[str, Any]]) -> set[str]:
    """Give the ids of the prefix lists that the groups' ingress rules refer to."""
    return {
        reference["PrefixListId"]
        for group in groups
        for permission in group.get("IpPermissions") or ()
        for reference in permission.get("PrefixListIds") or ()
    }


def families_of_open(client: Any, list_ids: Iterable[str]) -> dict[str, str | None]:
    """Read prefix lists, and give those that are open, by id: ``IPv4`` or ``IPv6``, or None for one that is hidden.

    https://docs.aws.amazon.com/vpc/latest/userguide/sharing-perms.html: an account that a list is shared with can read
    its entries, and no longer when the sharing ends, though its rules go on to refer to it.

    :raises ClientError: EC2 did not answer. That is not to be taken for "not open".
    """
    families: dict[str, str | None] = {}
    for batch in chunks(sorted(list_ids), LISTS_A_CALL):
        # By filter: the parameter PrefixListIds fails whole if one of the lists is not there.
        filters = [{"Name": "prefix-list-id", "Values": batch}]
        shapes = list(pages(client, "describe_managed_prefix_lists", "PrefixLists", PAGE_SIZE, Filters=filters))
        families |= dict.fromkeys(set(batch) - {shape["PrefixListId"] for shape in shapes})
        for shape in shapes:
            if shape["OwnerId"] != AWS:
                families |= _family_if_open(client, shape)
    return families


def _family_if_open(client: Any, shape: Mapping[str, Any]) -> dict[str, str | None]:
    list_id = shape["PrefixListId"]
    try:
        entries = list(pages(client, "get_managed_prefix_list_entries", "Entries", PAGE_SIZE, PrefixListId=list_id))
    except ClientError as error:
        if error.response["Error"]["Code"] not in UNREADABLE:
            raise
        return {list_id: None}
    return {list_id: shape["AddressFamily"]} if are_open([entry["Cidr"] for entry in entries]) else {}


def are_open(cidrs: Sequence[str]) -> bool:
    """Tell whether networks of one family are, alone or together, as wide as counts as open to the internet."""
    networks: Iterator[Network] = collapse_addresses([ip_network(cidr, strict=False) for cidr in cidrs])  # type: ignore[type-var]
    return any(
        network.prefixlen < WIDEST_PREFIX[network.version]
        and not (isinstance(network, IPv6Network) and network.subnet_of(PRIVATE_V6))
        for network in networks
    )
