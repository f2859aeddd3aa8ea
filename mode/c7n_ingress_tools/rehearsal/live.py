"""Read groups and what they use from AWS, by `Describe` and `Get` calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3

from c7n_ingress.aws.behind import MANAGED, knows_managed
from c7n_ingress.aws.calls import pages
from c7n_ingress.aws.prefix_lists import cidrs_of, prefix_lists, referenced
from c7n_ingress.decide.rules import VERSIONS
from c7n_ingress_tools.rehearsal import groups
from c7n_ingress_tools.rehearsal.account import INTERFACES, VPCS, Account

if TYPE_CHECKING:
    from collections.abc import Iterable

    from c7n_ingress_tools.rehearsal.exports import Export


def read(region: str, authorized: Iterable[str]) -> Account:
    """Read what is in a region, with the caller's credentials.

    :param authorized: the ids of the prefix lists that are authorized.
    :raises CommandError: there is no group.
    """
    client = boto3.Session(region_name=region).client("ec2")
    managed = {MANAGED: True} if knows_managed(client) else {}
    there = [*pages(client, "describe_security_groups", "SecurityGroups")]
    used = [*pages(client, "describe_network_interfaces", "NetworkInterfaces", **managed)]
    vpcs = [*pages(client, "describe_vpcs", "Vpcs")]
    found = {
        list_id: each for list_id, each in prefix_lists(client, referenced(there)).items() if each.family in VERSIONS
    }
    lists = {list_id: list(map(str, each.networks)) for list_id, each in found.items()}
    lists |= {list_id: cidrs_of(client, list_id) for list_id in authorized}
    return Account(
        groups.parse(_exported(groups.EXPORT, there), region),
        INTERFACES.parse(_exported(INTERFACES, used), region) if used else (),
        VPCS.parse(_exported(VPCS, vpcs), region) if vpcs else (),
        lists,
    )


def _exported(export: Export, items: list[dict[str, Any]]) -> bytes:
    """Return what the AWS CLI prints of an answer."""
    return json.dumps({export.key: items}, default=str).encode()
