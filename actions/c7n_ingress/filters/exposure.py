"""The ``exposure`` filter."""

from __future__ import annotations

from typing import Any

from c7n.filters import Filter
from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.aws.behind import look_behind
from c7n_ingress.aws.calls import client_of
from c7n_ingress.decide.behind import ANNOTATION, EXPOSURES

VALUES = {"enum": list(EXPOSURES)}


@SecurityGroup.filter_registry.register("exposure")
class Exposure(Filter):  # type: ignore[misc]  # c7n ships no types
    """Match security groups by who can reach what uses them: ``value`` is one of these words, or a list of them.

    ``internet``: a network interface with the group has a public address. ``private``: no interface with the group has
    one. ``unused``: no interface that is attached to anything has the group. ``unknown``: no interface is listed, but
    there may be some. The filter does not see a load balancer in front of a private interface, so a policy for
    ``internet`` leaves such groups open.

    The filter asks EC2 about each group, so put it after the filters that leave few groups.

    :example:

    .. code-block:: yaml

        filters:
          - {type: open-ingress, Ports: [3306, 5432]}
          - {type: exposure, value: internet}
    """

    schema = type_schema(
        "exposure",
        required=["value"],
        value={"oneOf": [VALUES, {"type": "array", "items": VALUES, "minItems": 1, "uniqueItems": True}]},
    )
    permissions = ("ec2:DescribeNetworkInterfaces",)

    def __init__(self, data: dict[str, Any], manager: Any = None) -> None:
        super().__init__(data, manager)
        self.known: dict[str, dict[str, Any]] = {}
        """What uses the groups that were looked up."""

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Look up the groups that no earlier call has, and return those that match."""
        if unread := [group for group in resources if group["GroupId"] not in self.known]:
            client = client_of(self.manager)
            self.known |= look_behind(client, unread, self.manager.config.account_id)
        for group in resources:
            group.update(self.known[group["GroupId"]])
        wanted = self.data["value"] if isinstance(self.data["value"], list) else [self.data["value"]]
        return [group for group in resources if group[ANNOTATION]["exposure"] in wanted]
