"""Read groups and what they use from AWS, by `Describe` and `Get` calls, into the files that the rehearsal reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3

from c7n_ingress.aws.behind import MANAGED, knows_managed
from c7n_ingress.aws.calls import pages
from c7n_ingress.aws.prefix_lists import cidrs_of, prefix_lists, referenced
from c7n_ingress.decide.rules import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


class Files(NamedTuple):
    """The files that were written; None where the region has nothing of it."""

    groups: Path
    interfaces: Path | None
    vpcs: Path | None
    prefix_lists: Mapping[str, Sequence[str]]
    """The CIDRs of each that is known."""


def read(region: str, folder: Path, authorized: Iterable[str]) -> Files:
    """Read what is in a region, with the caller's credentials.

    :param authorized: the ids of the prefix lists that are authorized.
    """
    client = boto3.Session(region_name=region).client("ec2")
    folder.mkdir(parents=True, exist_ok=True)
    managed = {MANAGED: True} if knows_managed(client) else {}
    groups = [*pages(client, "describe_security_groups", "SecurityGroups")]
    used = [*pages(client, "describe_network_interfaces", "NetworkInterfaces", **managed)]
    vpcs = [*pages(client, "describe_vpcs", "Vpcs")]
    found = {
        list_id: each for list_id, each in prefix_lists(client, referenced(groups)).items() if each.family in VERSIONS
    }
    lists = {list_id: list(map(str, each.networks)) for list_id, each in found.items()}
    lists |= {list_id: cidrs_of(client, list_id) for list_id in authorized}
    ids = {group["GroupId"] for group in groups}
    in_use = any(each["GroupId"] in ids for interface in used for each in interface["Groups"])
    return Files(
        _write(folder / "groups.json", {"SecurityGroups": groups}),
        _write(folder / "interfaces.json", {"NetworkInterfaces": used}) if in_use else None,
        _write(folder / "vpcs.json", {"Vpcs": vpcs}) if vpcs else None,
        lists,
    )


def _write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content, default=str), encoding="utf-8")
    return path
