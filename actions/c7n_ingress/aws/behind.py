"""Look up what uses security groups, and how people still get into instances whose SSH or RDP was closed."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import botocore
from c7n.utils import chunks

from c7n_ingress.aws.calls import BRIEFLY, client_of, described, why
from c7n_ingress.decide.behind import ANNOTATION, UNKNOWN, behind
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.way_in import INSTANCES, by_endpoint, by_session_manager, instances, is_closed, unread

log = logging.getLogger("custodian.actions")

PERMISSIONS = (
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeVpcBlockPublicAccessOptions",
    "ec2:DescribeInstanceConnectEndpoints",
    "ssm:DescribeInstanceInformation",
)

MANAGED = "IncludeManagedResources"
"""The parameter by which EC2 also lists the interfaces that AWS services manage and hide.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyManagedResourceVisibility.html
"""
HIDDEN = f"interfaces that AWS services hide cannot be seen: botocore {botocore.__version__} is too old"

FOREIGN = "interfaces of other accounts may be missing here"
"""For a group that another account owns: https://docs.aws.amazon.com/vpc/latest/userguide/security-group-sharing.html"""

NODES_A_CALL = 50
"""The most instances that Systems Manager returns in one answer."""
ENDPOINTS_A_PAGE = 50
"""The most endpoints that EC2 returns in one answer."""


def look_behind(client: Any, groups: Iterable[Mapping[str, Any]], account_id: str) -> dict[str, dict[str, Any]]:
    """Look up what uses each of the groups, for an account, and return it as annotations, by group id."""
    owners = {group["GroupId"]: group["OwnerId"] for group in groups}
    managed: dict[str, Any] = {MANAGED: True} if knows_managed(client) else {}
    hidden = () if managed else (HIDDEN,)
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    request = ("describe_network_interfaces", "NetworkInterfaces", "group-id", owners)
    for interface in described(client, *request, **managed):
        for group in interface["Groups"]:
            found[group["GroupId"]].append(interface)
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
        try:  # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcBlockPublicAccessOptions.html
            options = self.client().describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]
            mode = options["InternetGatewayBlockMode"]
        except Exception:  # any error, as above
            log.exception("VPC Block Public Access could not be looked up")
            return {"blocked": "Whether VPC Block Public Access is on could not be looked up."}
        block = f"VPC Block Public Access ({mode}) keeps the internet out, but for what is excluded from it."
        return {} if mode == "off" else {"blocked": block}

    def note_ways_in(self, outcomes: Iterable[Outcome]) -> None:
        """Note of each group whose SSH or RDP was closed how people still get into the instances that use it.

        What uses the groups is looked up before.
        """
        used_by = {group_id: each[INSTANCES] for group_id, each in self.known.items()}
        closed = [each for each in outcomes if used_by.get(each.group["GroupId"]) and is_closed(each.records)]
        concerned = {instance: vpc for each in closed for instance, vpc in used_by[each.group["GroupId"]].items()}
        if not concerned:
            return
        vpcs = {*concerned.values()}
        online = _asked("Session Manager", lambda: online_of(self.client("ssm"), concerned))
        endpoints = _asked("an EC2 Instance Connect Endpoint", lambda: endpoints_of(self.client(), vpcs))
        for outcome in closed:
            of_group = used_by[outcome.group["GroupId"]]
            vpcs = {*of_group.values()}
            outcome.noted += [
                online if isinstance(online, str) else by_session_manager(of_group, online),
                endpoints if isinstance(endpoints, str) else by_endpoint([e for e in endpoints if e["VpcId"] in vpcs]),
            ]

    def client(self, service: str = "ec2") -> Any:
        """Return a service's client, as long as there is time."""
        if not self.looks:
            raise TimeoutError("the run is stopped")
        brief = {"config": BRIEFLY} if service != "ec2" else {}
        return client_of(self.manager, service, **brief)


def online_of(client: Any, instance_ids: Collection[str]) -> list[str]:
    """Return the instances that Session Manager reaches."""
    # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html
    return [
        each["InstanceId"]
        for batch in chunks(sorted(instance_ids), NODES_A_CALL)
        for each in client.describe_instance_information(
            Filters=[{"Key": "InstanceIds", "Values": batch}], MaxResults=NODES_A_CALL
        )["InstanceInformationList"]
        if each.get("PingStatus") == "Online"
    ]


def endpoints_of(client: Any, vpc_ids: Collection[str]) -> list[dict[str, Any]]:
    """Return the EC2 Instance Connect Endpoints in VPCs."""
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceConnectEndpoints.html
    request = ("describe_instance_connect_endpoints", "InstanceConnectEndpoints", "vpc-id", vpc_ids)
    found = described(client, *request, MaxResults=ENDPOINTS_A_PAGE)
    return [each for each in found if each["State"] == "create-complete"]


def _asked(what: str, ask: Callable[[], list[Any]]) -> list[Any] | str:
    """Return an answer of AWS, or why there is none: a sentence for the message."""
    try:
        return ask()
    except Exception as error:  # any error: the groups are closed and reported
        log.exception("whether %s reaches instances could not be looked up", what)
        return unread(what, why(error))
