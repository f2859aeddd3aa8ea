"""The ``named`` filter."""

from __future__ import annotations

from typing import Any

from c7n.exceptions import PolicyExecutionError
from c7n.filters import Filter
from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.aws.settings import Checked, fill


@SecurityGroup.filter_registry.register("named")
class Named(Checked, Filter):  # type: ignore[misc]  # c7n ships no types
    """Match security groups by their ids. All of them must exist.

    If a policy finds none of the groups by c7n's own filters, it does nothing and exits with 0.

    :example:

    .. code-block:: yaml

        filters:
          - {type: named, groups: [sg-0123456789abcdef0]}
    """

    schema = type_schema(
        "named",
        required=["groups"],
        groups={
            "type": "array",
            "items": {"type": "string", "pattern": r"^(sg-[0-9a-f]+|\{\w+\})$"},
            "minItems": 1,
            "uniqueItems": True,
        },
    )

    judges_the_set = True  # with only some of its groups, it would report that the others are missing

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the groups that are named."""
        fill(self, "matched nothing")
        found = {resource["GroupId"]: resource for resource in resources}
        if missing := [group_id for group_id in self.data["groups"] if group_id not in found]:
            raise PolicyExecutionError(
                f"named: {', '.join(missing)}: no such security group in account {self.manager.config.account_id}, "
                f"region {self.manager.config.region}, or a filter before this one excludes it: write this filter "
                "first. Is it the right account and region, and does the group exist?"
            )
        return [found[group_id] for group_id in self.data["groups"]]
