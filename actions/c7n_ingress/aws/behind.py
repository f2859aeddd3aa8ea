"""Look up what uses security groups."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import botocore

from c7n_ingress.aws.calls import BRIEFLY, client_of, described
from c7n_ingress.decide.behind import ANNOTATION, UNKNOWN, behind
from c7n_ingress.decide.way_in import INSTANCES, instances

log = logging.getLogger("custodian.actions")

PERMISSIONS = (
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeVpcBlockPublicAccessOptions",
)

MANAGED = "IncludeManagedResources"
"""The parameter by which EC2 also lists the interfaces that AWS services manage and hide.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyManagedResourceVisibility.html
"""
HIDDEN = f"interfaces that AWS services hide cannot be seen: botocore {botocore.__version__} is too old"

FOREIGN = "interfaces of other accounts may be missing here"
"""For a group that another account owns: https://docs.aws.amazon.com/vpc/latest/userguide/security-group-sharing.html"""


def look_behind(client: Any, groups: Iterable[Mapping[str, Any]], account_id: str) -> dict[str, dict[str, Any]]:
    """Look up what uses each of the groups, for an account, and return it as annotations, by group id."""
    owners = {group["GroupId"]: group["OwnerId"] for group in groups}
    found = interfaces_of(client, owners)
    hidden = () if knows_managed(client) else (HIDDEN,)
    known = {}
    for group_id, owner in owners.items():
        interfaces = found.get(group_id, ())
        unseen = hidden if owner == account_id else (*hidden, FOREIGN)
        known[group_id] = {ANNOTATION: behind(interfaces, unseen)._asdict(), INSTANCES: instances(interfaces)}
    return known


def knows_managed(client: Any) -> bool:
    """Whether the installed botocore knows the parameter."""
    operation = client.meta.service_model.operation_model("DescribeNetworkInterfaces")
    return MANAGED in operation.input_shape.members


def interfaces_of(client: Any, group_ids: Iterable[str]) -> Mapping[str, list[dict[str, Any]]]:
    """Read the interfaces that have any of the groups, by each group that they have."""
    managed: dict[str, Any] = {MANAGED: True} if knows_managed(client) else {}
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    request = ("describe_network_interfaces", "NetworkInterfaces", "group-id", group_ids)
    for interface in described(client, *request, **managed):
        for group in interface["Groups"]:
            found[group["GroupId"]].append(interface)
    return found


class Surroundings:
    """What uses groups, if an action's ``behind`` asks for it. Nothing is looked up twice."""

    def __init__(self, action: Any) -> None:
        self.manager = action.manager
        self.wanted = bool(action.data.get("behind"))
        self.known: dict[str, dict[str, Any]] = {}
        """The annotations of groups, by id."""
        self.looks = True
        """Whether there is time to look anything up."""

    def of(self, groups: Collection[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return what a message says about what uses each group, by id; an error is logged, and reported as such."""
        if not self.wanted:
            return {}
        # What a filter of the policy has read is not read again.
        self.known |= {
            group["GroupId"]: {key: group[key] for key in (ANNOTATION, INSTANCES)}
            for group in groups
            if ANNOTATION in group
        }
        unread = [group for group in groups if group["GroupId"] not in self.known]
        try:
            found = look_behind(self.client(), unread, self.manager.config.account_id)
        except Exception:  # any error: the groups are closed and reported
            log.exception("what uses %d groups could not be looked up", len(unread))
            nothing = {ANNOTATION: UNKNOWN._asdict(), INSTANCES: {}}
            found = dict.fromkeys((group["GroupId"] for group in unread), nothing)
        self.known |= found
        return {group["GroupId"]: self.known[group["GroupId"]][ANNOTATION] for group in groups}

    def blocked(self) -> dict[str, str]:
        """Return what a message adds for each group if VPC Block Public Access is on, or cannot be looked up."""
        if not self.wanted:
            return {}
        try:  # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcBlockPublicAccessOptions.html
            options = self.client().describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]
            mode = options["InternetGatewayBlockMode"]
        except Exception:  # any error, as above
            log.exception("VPC Block Public Access could not be looked up")
            return {"blocked": "Whether VPC Block Public Access is on could not be looked up."}
        block = f"VPC Block Public Access ({mode}) keeps the internet out, but for what is excluded from it."
        return {} if mode == "off" else {"blocked": block}

    def client(self, service: str = "ec2") -> Any:
        """Return a service's client, as long as there is time."""
        if not self.looks:
            raise TimeoutError("the run is stopped")
        brief = {"config": BRIEFLY} if service != "ec2" else {}
        return client_of(self.manager, service, **brief)
