"""Look up what stands behind security groups."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from c7n.utils import chunks, local_session

from c7n_ingress.aws.read import GROUPS_A_CALL, PAGE_SIZE, pages
from c7n_ingress.decide.behind import ANNOTATION, UNKNOWN, Behind, behind

log = logging.getLogger("custodian.actions")

PERMISSIONS = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcBlockPublicAccessOptions")


def look_behind(client: Any, group_ids: Iterable[str]) -> dict[str, Behind]:
    """Tell what stands behind each of the groups, by id.

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    wanted = set(group_ids)
    found = interfaces_of(client, wanted)
    return {group_id: behind(found.get(group_id, ())) for group_id in wanted}


def interfaces_of(client: Any, group_ids: Iterable[str]) -> Mapping[str, list[dict[str, Any]]]:
    """Read the interfaces that have any of the groups, by each group that they have.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for batch in chunks(sorted(set(group_ids)), GROUPS_A_CALL):
        filters = [{"Name": "group-id", "Values": batch}]
        for interface in pages(
            client, "describe_network_interfaces", "NetworkInterfaces", MaxResults=PAGE_SIZE, Filters=filters
        ):
            for group in interface["Groups"]:
                found[group["GroupId"]].append(interface)
    return found


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


class Surroundings:
    """What stands behind groups, as far as an action's ``behind`` asks for it. Nothing is looked up twice."""

    def __init__(self, action: Any) -> None:
        self.manager = action.manager
        self.wanted = bool(action.data.get("behind"))
        self.known: dict[str, dict[str, Any]] = {}
        self.looks = True
        """Whether there is time to look anything up."""

    def of(self, groups: Collection[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Give what is told of what stands behind each group, by id; trouble is logged, and told as such."""
        if not self.wanted:
            return {}
        # What a filter of the policy has read is not read again.
        self.known |= {group["GroupId"]: group[ANNOTATION] for group in groups if ANNOTATION in group}
        unread = [group["GroupId"] for group in groups if group["GroupId"] not in self.known]
        try:
            client = self.client()
            self.known |= {group_id: each.told() for group_id, each in look_behind(client, unread).items()}
        except Exception:  # whatever it is: the groups are closed, and told
            log.exception("what stands behind %d groups could not be looked up", len(unread))
            self.known |= dict.fromkeys(unread, UNKNOWN.told())
        return {group["GroupId"]: self.known[group["GroupId"]] for group in groups}

    def blocked(self) -> dict[str, str]:
        """Give what is told besides of each group, where VPC Block Public Access is on; trouble likewise."""
        if not self.wanted:
            return {}
        try:
            block = blocked(self.client())
        except Exception:  # likewise
            log.exception("VPC Block Public Access could not be looked up")
            block = "Whether VPC Block Public Access is on could not be looked up."
        return {"blocked": block} if block else {}

    def client(self) -> Any:
        """Give EC2's client.

        :raises TimeoutError: there is no time for it.
        """
        if not self.looks:
            raise TimeoutError("the run is stopped")
        return local_session(self.manager.session_factory).client("ec2")
