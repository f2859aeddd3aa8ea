"""Lambda's GetFunction as it is: moto's code location leads nowhere, and moto leaves out the reserved concurrency 0.

https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
"""

from __future__ import annotations

from typing import Any

from moto.awslambda.models import LambdaFunction, lambda_backends

CODE = "/code-of-a-function/"  # the path under which the embedded AWS serves deployed zips

moto_s = LambdaFunction.get_code


def install(endpoint: str) -> None:
    """Make GetFunction return an address of this AWS, as long as it serves there."""

    def get_code(function: LambdaFunction) -> dict[str, Any]:
        found = moto_s(function)
        found["Code"]["Location"] = f"{endpoint}{CODE}{function.account_id}/{function.region}/{function.function_name}"
        if function.reserved_concurrency is not None:
            found["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
        return found

    setattr(LambdaFunction, "get_code", get_code)  # noqa: B010 - mypy takes no assignment to a method


def code_at(path: str) -> bytes | None:
    """Return the zip that an address is for; None if it is for none."""
    if not path.startswith(CODE):
        return None
    account, region, name = path.removeprefix(CODE).split("/")
    code: bytes = lambda_backends[account][region].get_function(name).code_bytes
    return code
