"""EC2's answers as XML: what moto's serializer writes, in a fifth of the time.

An account with 20,000 security groups is described in one answer of a million elements. moto looks for each of them
under many names; here every name is that of botocore's service model.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from xml.sax.saxutils import escape

from botocore.model import ListShape, Shape, StructureShape
from moto.core.responses import ActionContext, ActionResult


class Answer(ActionResult):
    """The answer to a call, in the shape of its output in the service model."""

    def execute_result(self, context: ActionContext) -> tuple[int, dict[str, str], str]:
        """Write the answer, for EC2's protocol: https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html."""
        operation = context.operation_model
        namespace = f"http://ec2.amazonaws.com/doc/{operation.service_model.api_version}/"
        body = _xml(operation.output_shape, self.result) if operation.output_shape else ""
        return (
            200,
            {"Content-Type": "text/xml"},
            f'<{operation.name}Response xmlns="{namespace}">{body}</{operation.name}Response>',
        )


def _xml(shape: Shape, value: Any) -> str:
    if isinstance(shape, StructureShape):
        return "".join(
            f"<{tag}>{_xml(member, value[name])}</{tag}>"
            for name, tag, member in _members(shape)
            if value.get(name) is not None
        )
    if isinstance(shape, ListShape):
        return "".join(f"<item>{_xml(shape.member, each)}</item>" for each in value)
    if shape.type_name == "boolean":
        return "true" if value else "false"
    return escape(str(value))


@cache
def _members(shape: StructureShape) -> list[tuple[str, str, Shape]]:
    """Return a structure's members: name, element and shape."""
    return [(name, member.serialization.get("name", name), member) for name, member in shape.members.items()]
