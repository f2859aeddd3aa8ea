"""The ``mark-each-for-op`` action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.resources.vpc import SecurityGroup
from c7n.tags import TagDelayedAction
from c7n.utils import type_schema

from c7n_ingress.aws.calls import GONE, error_code, said
from c7n_ingress.aws.settings import Checked
from c7n_ingress.decide.checks import or_unfilled
from c7n_ingress.decide.settings import filled


@SecurityGroup.action_registry.register("mark-each-for-op")
class MarkEachForOp(Checked, TagDelayedAction):  # type: ignore[misc]  # c7n ships no types
    """Mark groups as c7n's own ``mark-for-op`` does, even if some of them cannot be marked.

    c7n marks 25 groups in one call. If one of them has 50 tags, EC2 refuses the whole call, and the others get no mark
    and are never closed. This action tries a refused call again, group by group. It fails, and names the groups that
    got no mark.

    ``preview: true`` does not change what this action does. It only makes the policy's message say that the marked
    groups stay open as long as ``preview`` is set.

    :example:

    .. code-block:: yaml

        actions:
          - type: mark-each-for-op
            tag: open-ingress-notice
            op: replace-ingress
            hours: 24
            msg: "Open to the internet: {op}@{action_date}"
    """

    schema = type_schema(
        "mark-each-for-op",
        rinherit=TagDelayedAction.schema,
        hours=or_unfilled(TagDelayedAction.schema["properties"]["hours"]),
        preview=or_unfilled({"type": "boolean"}),
    )
    schema_alias = False

    def process(self, resources: list[dict[str, Any]]) -> None:
        """Mark the groups."""
        self.data: dict[str, Any] = filled(self.data)
        super().process(resources)

    def process_resource_set(self, client: Any, resource_set: Sequence[dict[str, Any]], tags: Any) -> None:
        """Mark groups by one call, or by a call for each."""
        mark = super().process_resource_set
        try:
            mark(client, resource_set, tags)
        except ClientError:
            refused = []
            for group in resource_set:
                try:
                    mark(client, [group], tags)
                except ClientError as error:  # noqa: PERF203 - the others are marked all the same
                    if error_code(error) not in GONE:
                        refused.append(f"{group['GroupId']}: {said(error)}")
            if refused:
                raise PolicyExecutionError(f"not marked, so it stays open: {'; '.join(refused)}") from None
