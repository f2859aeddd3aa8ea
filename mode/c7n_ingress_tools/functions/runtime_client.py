"""Speaks to the Runtime API for `awslambdaric` where its own module of this name, in C++, is not built: off Linux.

It is on the path of the function's process, and needs only the standard library. Names and arguments are those
that `awslambdaric/lambda_runtime_client.py` uses.
"""

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
user_agent = {}


def initialize_client(name):
    """Keep the name by which the client calls itself."""
    user_agent["User-Agent"] = name


def next():  # noqa: A001 - the client's name for it
    """Wait for an event; return its bytes and the headers that came with it."""
    body, headers = _call("GET", "/invocation/next", None, {})
    found = {name: headers.get(name) for name in HEADERS}
    return body, found | {"Lambda-Runtime-Deadline-Ms": int(headers["Lambda-Runtime-Deadline-Ms"])}


def post_invocation_result(invoke_id, content, content_type, _invocation_id=None):
    """Answer an event."""
    _call("POST", f"/invocation/{invoke_id}/response", content, {"Content-Type": content_type})


def post_error(invoke_id, error, _xray_fault, _invocation_id=None):
    """Report that an event failed."""
    _call("POST", f"/invocation/{invoke_id}/error", error.encode(), {"Content-Type": "application/json"})


def _call(method, path, content, headers):
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
