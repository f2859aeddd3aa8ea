"""Look up how people still get into instances whose port for SSH or RDP was closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from c7n.utils import chunks

from c7n_ingress.aws.behind import Surroundings
from c7n_ingress.aws.calls import pages, why
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.way_in import INSTANCES, by_endpoint, by_session_manager, is_closed, unread

log = logging.getLogger("custodian.actions")

PERMISSIONS = ("ec2:DescribeInstanceConnectEndpoints", "ssm:DescribeInstanceInformation")

NODES_A_CALL = 50
"""The most instances that Systems Manager returns in one answer."""
ENDPOINTS_A_PAGE = 50
"""The most endpoints that EC2 returns in one answer."""


def note_ways_in(surroundings: Surroundings, outcomes: Iterable[Outcome]) -> None:
    """Note of each group whose SSH or RDP was closed how people still get into the instances that use it.

    :param surroundings: what uses the groups, already looked up.
    """
    used_by = {group_id: each[INSTANCES] for group_id, each in surroundings.known.items()}
    closed = [each for each in outcomes if used_by.get(each.group["GroupId"]) and is_closed(each.records)]
    concerned = {instance: vpc for each in closed for instance, vpc in used_by[each.group["GroupId"]].items()}
    if not concerned:
        return
    online = _asked("Session Manager", lambda: online_of(surroundings.client("ssm"), concerned))
    vpcs = {*concerned.values()}
    endpoints = _asked("an EC2 Instance Connect Endpoint", lambda: endpoints_of(surroundings.client(), vpcs))
    for outcome in closed:
        of_group = used_by[outcome.group["GroupId"]]
        vpcs = {*of_group.values()}
        outcome.noted += [
            online if isinstance(online, str) else by_session_manager(of_group, online),
            endpoints if isinstance(endpoints, str) else by_endpoint([e for e in endpoints if e["VpcId"] in vpcs]),
        ]


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
    filters = [{"Name": "vpc-id", "Values": sorted(vpc_ids)}, {"Name": "state", "Values": ["create-complete"]}]
    request = {"Filters": filters, "MaxResults": ENDPOINTS_A_PAGE}
    return [*pages(client, "describe_instance_connect_endpoints", "InstanceConnectEndpoints", **request)]


def _asked(what: str, ask: Callable[[], list[Any]]) -> list[Any] | str:
    """Return an answer of AWS, or why there is none: a sentence for the message."""
    try:
        return ask()
    except Exception as error:  # any error: the groups are closed and reported
        log.exception("whether %s reaches instances could not be looked up", what)
        return unread(what, why(error))
