"""Look up what uses security groups."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import botocore
from c7n.utils import chunks, local_session

from c7n_ingress.aws.calls import GROUPS_A_CALL, PAGE_SIZE, pages
from c7n_ingress.decide.behind import ANNOTATION, UNKNOWN, Behind, behind

log = logging.getLogger("custodian.actions")

PERMISSIONS = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcBlockPublicAccessOptions")


MANAGED = "IncludeManagedResources"
"""The parameter by which EC2 lists the interfaces, too, that AWS services manage and hide.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyManagedResourceVisibility.html
"""

HIDDEN = f"interfaces that AWS services hide cannot be seen: botocore {botocore.__version__} is too old"

FOREIGN = "interfaces of other accounts may be missing here"
"""What cannot be seen of a group that another account owns, and shares with this one.

https://docs.aws.amazon.com/vpc/latest/userguide/security-group-sharing.html
"""


def look_behind(client: Any, groups: Iterable[Mapping[str, Any]], account_id: str) -> dict[str, Behind]:
    """Describe what uses each of the groups, by id.

    :param account_id: the account that looks.
    :raises ClientError, BotoCoreError: EC2 did not answer.
    """
    owners = {group["GroupId"]: group["OwnerId"] for group in groups}
    found = interfaces_of(client, owners)
    hidden = () if _knows_managed(client) else (HIDDEN,)
    return {
        group_id: behind(found.get(group_id, ()), (*hidden, *(() if owner == account_id else (FOREIGN,))))
        for group_id, owner in owners.items()
    }


def _knows_managed(client: Any) -> bool:
    operation = client.meta.service_model.operation_model("DescribeNetworkInterfaces")
    return MANAGED in operation.input_shape.members


def interfaces_of(client: Any, group_ids: Iterable[str]) -> Mapping[str, list[dict[str, Any]]]:
    """Read the interfaces that have any of the groups, by each group that they have.

    :raises ClientError, BotoCoreError: EC2 did not answer.
    """
    managed = {MANAGED: True} if _knows_managed(client) else {}
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for batch in chunks(sorted(set(group_ids)), GROUPS_A_CALL):
        filters = [{"Name": "group-id", "Values": batch}]
        request = {"MaxResults": PAGE_SIZE, "Filters": filters, **managed}
        for interface in pages(client, "describe_network_interfaces", "NetworkInterfaces", **request):
            for group in interface["Groups"]:
                found[group["GroupId"]].append(interface)
    return found


def blocked(client: Any) -> str | None:
    """Return a sentence if VPC Block Public Access is on.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcBlockPublicAccessOptions.html

    :raises ClientError, BotoCoreError: EC2 did not answer.
    """
    options = client.describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]
    mode = options.get("InternetGatewayBlockMode", "off")
    if mode == "off":
        return None
    return f"VPC Block Public Access ({mode}) keeps the internet out, but for what is excluded from it."


class Surroundings:
    """What uses groups, if an action's ``behind`` asks for it. Nothing is looked up twice."""

    def __init__(self, action: Any) -> None:
        self.manager = action.manager
        self.wanted = bool(action.data.get("behind"))
        self.known: dict[str, dict[str, Any]] = {}
        self.looks = True
        """Whether there is time to look anything up."""

    def of(self, groups: Collection[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return what a message says about what uses each group, by id; an error is logged, and reported as such."""
        if not self.wanted:
            return {}
        # What a filter of the policy has read is not read again.
        self.known |= {group["GroupId"]: group[ANNOTATION] for group in groups if ANNOTATION in group}
        unread = [group for group in groups if group["GroupId"] not in self.known]
        try:
            found = look_behind(self.client(), unread, self.manager.config.account_id)
            self.known |= {group_id: each.annotation() for group_id, each in found.items()}
        except Exception:  # any error: the groups are closed and reported
            log.exception("what uses %d groups could not be looked up", len(unread))
            self.known |= dict.fromkeys((group["GroupId"] for group in unread), UNKNOWN.annotation())
        return {group["GroupId"]: self.known[group["GroupId"]] for group in groups}

    def blocked(self) -> dict[str, str]:
        """Return what a message adds for each group if VPC Block Public Access is on, or cannot be looked up."""
        if not self.wanted:
            return {}
        try:
            block = blocked(self.client())
        except Exception:  # any error, as above
            log.exception("VPC Block Public Access could not be looked up")
            block = "Whether VPC Block Public Access is on could not be looked up."
        return {"blocked": block} if block else {}

    def client(self) -> Any:
        """Return EC2's client.

        :raises TimeoutError: there is no time left.
        """
        if not self.looks:
            raise TimeoutError("the run is stopped")
        return local_session(self.manager.session_factory).client("ec2")
