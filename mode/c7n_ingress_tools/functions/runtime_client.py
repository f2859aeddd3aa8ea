"""Calls the Runtime API for `awslambdaric`, whose own module of this name, in C++, is only built on Linux.

It is on the path of the function's process, and needs only the standard library. The names and arguments are those
that `awslambdaric/lambda_runtime_client.py` uses.
"""

from __future__ import annotations

import http.client
import os

API = "/2018-06-01/runtime"
HEADERS = (
    "Lambda-Runtime-Aws-Request-Id",
    "Lambda-Runtime-Trace-Id",
    "Lambda-Runtime-Invoked-Function-Arn",
    "Lambda-Runtime-Client-Context",
    "Lambda-Runtime-Cognito-Identity",
    "Content-Type",
)
user_agent: dict[str, str] = {}


def initialize_client(name: str) -> None:
    """Set the client's name, which is sent with each call."""
    user_agent["User-Agent"] = name


def next() -> tuple[bytes, dict[str, str | int | None]]:  # noqa: A001 - the client's name for it
    """Wait for an event, and return its bytes and its headers."""
    body, headers = _call("GET", "/invocation/next", None, {})
    found: dict[str, str | int | None] = {name: headers.get(name) for name in HEADERS}
    return body, found | {"Lambda-Runtime-Deadline-Ms": int(headers["Lambda-Runtime-Deadline-Ms"])}


def post_invocation_result(invoke_id: str, content: bytes, content_type: str, _id: str | None = None) -> None:
    """Answer an event."""
    _call("POST", f"/invocation/{invoke_id}/response", content, {"Content-Type": content_type})


def post_error(invoke_id: str, error: str, _xray_fault: str, _id: str | None = None) -> None:
    """Report that an event failed."""
    _call("POST", f"/invocation/{invoke_id}/error", error.encode(), {"Content-Type": "application/json"})


def _call(
    method: str, path: str, content: bytes | None, headers: dict[str, str]
) -> tuple[bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        connection.request(method, API + path, content, user_agent | headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise RuntimeError(f"{path}: {answer.status}")
    return body, answer.headers
