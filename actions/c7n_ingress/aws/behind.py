"""Look up what stands behind security groups."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from c7n.utils import chunks, local_session

from c7n_ingress.aws.read import GROUPS_A_CALL, PAGE_SIZE, pages
from c7n_ingress.decide.behind import ANNOTATION, UNKNOWN, Behind, behind
from c7n_ingress.decide.message import Outcome

log = logging.getLogger("custodian.actions")

PERMISSIONS = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcBlockPublicAccessOptions")


def look_behind(client: Any, group_ids: Iterable[str]) -> dict[str, Behind]:
    """Tell what stands behind each of the groups, by id.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    wanted = sorted(set(group_ids))
    for batch in chunks(wanted, GROUPS_A_CALL):
        filters = [{"Name": "group-id", "Values": batch}]
        for interface in pages(
            client, "describe_network_interfaces", "NetworkInterfaces", MaxResults=PAGE_SIZE, Filters=filters
        ):
            for group in interface["Groups"]:
                found[group["GroupId"]].append(interface)
    return {group_id: behind(found[group_id]) for group_id in wanted}


def blocked(client: Any) -> str | None:
    """Say in one sentence that VPC Block Public Access is on, if it is.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcBlockPublicAccessOptions.html

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    options = client.describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]
    mode = options.get("InternetGatewayBlockMode", "off")
    if mode == "off":
        return None
    return f"VPC Block Public Access ({mode}) keeps the internet out, but for what is excluded from it."


def told_behind(manager: Any, outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Give what a message says of what stands behind each group, by id; trouble is logged, and told as such.

    What the policy's filter has read is not read again.
    """
    client = local_session(manager.session_factory).client("ec2")
    known = {outcome.group["GroupId"]: outcome.group[ANNOTATION] for outcome in outcomes if ANNOTATION in outcome.group}
    unread = [group_id for outcome in outcomes if (group_id := outcome.group["GroupId"]) not in known]
    try:
        known |= {group_id: each.told() for group_id, each in look_behind(client, unread).items()}
    except Exception:  # whatever it is: what was changed must be told
        log.exception("what stands behind %d groups could not be looked up", len(unread))
        known |= dict.fromkeys(unread, UNKNOWN.told())
    try:
        block = blocked(client)
    except Exception:  # likewise
        log.exception("VPC Block Public Access could not be looked up")
        block = "Whether VPC Block Public Access is on could not be looked up."
    more = {"blocked": block} if block else {}
    return {group_id: {**each, **more} for group_id, each in known.items()}
