"""The ``marked`` filter."""

from __future__ import annotations

import re
from typing import Any

from c7n.resources.vpc import SecurityGroup
from c7n.tags import TagActionFilter
from c7n.utils import type_schema

from c7n_ingress.aws.settings import Checked, fill
from c7n_ingress.decide.checks import or_unfilled

WRITTEN = re.compile(
    r"[^\n]*: [\w-]+@20\d\d/(0[1-9]|1[0-2])/(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3])[0-5]\d [A-Z]+", re.ASCII
)
"""A mark that ``mark-each-for-op`` writes: an action, a day, a time and a time zone."""


@SecurityGroup.filter_registry.register("marked")
class Marked(Checked, TagActionFilter):  # type: ignore[misc]  # c7n ships no types
    """Match groups that ``mark-each-for-op`` marked for an action, once the time of the mark is over.

    With ``hours``, a group also matches from this number of hours before the time of the mark. A mark of a later time
    was not written by ``mark-each-for-op``, and does not match. Any other text in the tag does not match either. (c7n's
    own ``marked-for-op`` raises on some texts, and the run ends.)

    :example:

    .. code-block:: yaml

        filters:
          - {type: marked, tag: open-ingress-notice, op: replace-ingress}
          - {type: open-ingress, Ports: [22]}
    """

    schema = type_schema(
        "marked",
        required=["tag", "op"],
        tag={"type": "string"},
        op={"type": "string"},
        hours=or_unfilled({"type": "number", "minimum": 0}),
    )
    schema_alias = False

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the groups that match."""
        fill(self, "matched nothing")
        self.data["skew_hours"] = self.data.get("hours", 0)
        return super().process(resources, event)  # type: ignore[no-any-return]

    def __call__(self, group: dict[str, Any]) -> bool:
        """Match one group."""
        mark = next((tag["Value"] for tag in group.get("Tags") or () if tag["Key"] == self.data["tag"]), "")
        return bool(WRITTEN.fullmatch(mark)) and bool(super().__call__(group))
