"""AWS on a free loopback port of this process: moto's server, with what the real services do besides.

with serving() as cloud:
    cloud.session().client("ec2").describe_security_groups()
    subprocess.run(["custodian", "run", ...], env=cloud.environment())
    print(cloud.calls)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qs

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import UnknownServiceError
from moto.core import responses
from moto.core.botocore_stubber import MockRawResponse
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.core.utils import method_names_from_class
from moto.ec2.models import ec2_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound
from werkzeug.test import create_environ, run_wsgi_app

from c7n_ingress_tools.embedded_aws import config, ec2, models, services
from c7n_ingress_tools.embedded_aws.alone import alone
from c7n_ingress_tools.embedded_aws.listener import Answer, Listener

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

ACCOUNT = "123456789012"
REGION = "us-east-1"
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

models.share()


class Call(NamedTuple):
    """One API call, and the error code of its answer, if it failed."""

    service: str
    action: str
    region: str
    error: str | None


@dataclass(eq=False)
class Cloud:
    """The embedded AWS. `calls` has every API call in order, since the start or since it was cleared."""

    endpoint: str
    calls: list[Call] = field(default_factory=list)
    ec2: ec2.Behaviour = field(default_factory=lambda: ec2.behaviour)
    answer: Answer | None = None
    """Answers this process's own requests without the port."""
    _sessions: dict[tuple[str, str], boto3.Session] = field(default_factory=dict, init=False)

    def environment(self, region: str = REGION, account: str = ACCOUNT) -> dict[str, str]:
        """Return the environment for a child process whose AWS calls all end here.

        It has none of the caller's own AWS settings: no credentials, no profile, no configuration file.
        """
        return alone() | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": region,
            **dict(zip(CREDENTIALS, credentials(account), strict=True)),
        }

    def session(self, region: str = REGION, account: str = ACCOUNT) -> boto3.Session:
        """Return a session whose clients call this AWS as an administrator of the account.

        A reset ends the credentials of all accounts except the default one.
        """
        if (region, account) not in self._sessions:
            self._sessions[region, account] = self.new_session(region, account)
        return self._sessions[region, account]

    def new_session(self, region: str = REGION, account: str = ACCOUNT) -> boto3.Session:
        """Return a new session of this kind. It creates each client once, because that takes longer than a call."""
        session = boto3.Session(*credentials(account), region)
        vars(session)["client"] = cache(session.client)
        if self.answer:
            session.events.register("before-send", partial(self._answer, self.answer))
        return session

    def _answer(self, answer: Answer, request: Any, **_: Any) -> Any:
        """Return the answer to a request to this AWS, without a socket, or None for another request."""
        if not request.url.startswith(self.endpoint):
            return None
        sent = [
            (name, value.decode() if isinstance(value, bytes) else value) for name, value in request.headers.items()
        ]
        asked = request.body.encode() if isinstance(request.body, str) else request.body
        status, headers, body = answer(request.method, request.url, sent, asked)
        return AWSResponse(request.url, status, HTTPHeaders.from_pairs(headers), MockRawResponse(body))

    @property
    def evaluations(self) -> list[config.Evaluation]:
        """The verdicts of AWS Config's rules, in order."""
        return config.evaluations()

    def reset(self) -> None:
        """Empty AWS, and make EC2 behave as it does by default."""
        ec2_backends.clear()  # moto would create each again, and drop it
        moto_api_backend.reset()
        self._sessions = {key: session for key, session in self._sessions.items() if key[1] == ACCOUNT}
        self.ec2.reset()
        self.calls.clear()


@contextmanager
def serving() -> Iterator[Cloud]:
    """Serve AWS on a free loopback port until the block ends.

    Until then, this process's own environment points there, too. So no client in this process can reach a real account
    or read the caller's `AWS_PROFILE`.
    """
    calls: list[Call] = []
    moto = DomainDispatcherApplication(create_backend_app)
    # moto looks through its own folders, and through a service's class, at every call.
    vars(moto)["get_backend_for_host"] = cache(moto.get_backend_for_host)
    responses.method_names_from_class = cache(method_names_from_class)
    listener = Listener(partial(answer, moto, calls))
    cloud = Cloud(listener.endpoint, calls, answer=listener.answer)
    # An account starts in 5 ms without moto's 1301 AMIs, in 110 with them.
    environment = cloud.environment() | {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}
    with mock.patch.dict(os.environ, environment, clear=True):
        cloud.reset()
        listener.start()
        try:
            yield cloud
        finally:
            listener.close()


def answer(
    moto: WSGIApplication, calls: list[Call], method: str, url: str, headers: list[tuple[str, str]], body: bytes
) -> tuple[int, Headers, bytes]:
    """Return moto's answer to a request: status, headers and body. Record the call, if the request is one of an API.

    Many threads do so without a lock, because appending to a list is atomic.
    """
    environ = create_environ(url, method=method, headers=headers, data=body)
    if (code := services.code_at(environ["PATH_INFO"])) is not None:
        return HTTPStatus.OK, Headers({"Content-Type": "application/zip"}), code
    answered, line, sent = run_wsgi_app(moto, environ, buffered=True)
    status, content = int(line[:3]), b"".join(answered)
    # A request that is signed: `Credential=KEY/20260131/us-east-1/ec2/aws4_request`.
    if scope := re.search(r"Credential=[^/]*/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", "")):
        region, service = scope.groups()
        error = (error_code(content) or str(status)) if status >= HTTPStatus.BAD_REQUEST else None
        calls.append(Call(service, asked_action(environ, service, body), region, error))
    return status, sent, content


def credentials(account: str) -> tuple[str, str, str]:
    """Return credentials of an account, in the order of CREDENTIALS.

    moto finds the account by the access key. It knows the keys that its STS created for a role of the account.
    """
    if account == ACCOUNT:
        return "testing", "testing", "testing"
    role = sts_backends[account]["aws"].assume_role(
        REGION,
        role_arn=f"arn:aws:iam::{account}:role/administrator",
        role_session_name="local",
        policy="",
        duration=3600,
        external_id="",
    )
    return role.access_key_id, role.secret_access_key, role.session_token


def asked_action(environ: WSGIEnvironment, service: str, body: bytes) -> str:
    """Return the action's name: from the header (JSON services), the form (query services) or the path (REST)."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return parse_qs(body.decode())["Action"][0]
    try:
        operation, _ = get_service_router(service).match(Request(environ, populate_request=False))
    except (NotFound, UnknownServiceError):
        return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    return str(operation.name)


def error_code(body: bytes) -> str | None:
    """Return the code in an error's body: `<Code>` in XML, `__type` in JSON, with a namespace before a `#`."""
    code = re.search(rb'<Code>([^<]+)</Code>|"__type": ?"(?:[^"#]*#)?([^"]+)"', body)
    return (code[1] or code[2]).decode() if code else None
