"""AWS on a free loopback port of this process: moto's server, with what EC2, Config and Logs do besides.

with serving() as cloud:
    cloud.session().client("ec2").describe_security_groups()
    subprocess.run(["custodian", "run", ...], env=cloud.environment())
    print(cloud.calls)
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from io import BytesIO
from threading import Lock, Thread
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qs

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import UnknownServiceError
from botocore.loaders import create_loader
from botocore.session import get_session
from moto.core import responses
from moto.core.botocore_stubber import MockRawResponse
from moto.core.request import Request
from moto.core.routing import NotFound, get_service_router
from moto.core.utils import method_names_from_class
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.datastructures import Headers
from werkzeug.test import create_environ, run_wsgi_app

from c7n_ingress_tools.embedded_aws import config, ec2, logs, queues
from c7n_ingress_tools.embedded_aws.listener import Answer, Listener

ACCOUNT = "123456789012"
REGION = "us-east-1"

# One loader for all sessions: it takes botocore a quarter of a second to read EC2's model.
SERVICE_MODELS = create_loader()


class Call(NamedTuple):
    """One API call: the service, the action and the region, and the error code of the answer, if it has one."""

    service: str
    action: str
    region: str
    error: str | None


class Session(boto3.Session):
    """A session that makes each client once: that takes longer than a call."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._clients: dict[Any, Any] = {}
        self._making = Lock()

    def client(self, *names: Any, **settings: Any) -> Any:
        """Return the client of a service, the same for the same settings."""
        wanted = names, tuple(sorted(settings.items()))
        with self._making:
            if wanted not in self._clients:
                self._clients[wanted] = super().client(*names, **settings)
            return self._clients[wanted]


@dataclass(eq=False)
class Cloud:
    """The embedded AWS. `calls` holds every API call since the start, or since somebody cleared it, in order."""

    endpoint: str
    calls: list[Call] = field(default_factory=list)
    ec2: ec2.Behaviour = field(default_factory=lambda: ec2.behaviour)
    answer: Answer | None = None
    """Answers what this process asks, where there is no need to go through the port."""
    _sessions: dict[tuple[str, str], Session] = field(default_factory=dict, init=False)

    def environment(self, region: str = REGION, account: str = ACCOUNT) -> dict[str, str]:
        """Return the environment for a child process whose AWS calls all end here.

        Nothing of the caller's own AWS settings is left in it: no credentials, profile or configuration file.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **credentials(account),
        }

    def session(self, region: str = REGION, account: str = ACCOUNT) -> Session:
        """Return the session whose clients talk to this AWS, as an administrator of the account.

        Credentials of another account than the default one end with a reset.
        """
        if (region, account) not in self._sessions:
            self._sessions[region, account] = self.new_session(region, account)
        return self._sessions[region, account]

    def new_session(self, region: str = REGION, account: str = ACCOUNT) -> Session:
        """Return such a session that nobody else has."""
        botocore_session = get_session()
        botocore_session.register_component("data_loader", SERVICE_MODELS)
        access = {name.lower(): value for name, value in credentials(account).items()}
        session = Session(region_name=region, botocore_session=botocore_session, **access)
        if self.answer:
            session.events.register("before-send", self._answer)
        return session

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        """Answer a request to this AWS without a socket."""
        if not request.url.startswith(self.endpoint):
            return None
        sent = [
            (name, value.decode() if isinstance(value, bytes) else value) for name, value in request.headers.items()
        ]
        status, headers, body = self.answer(request.method, request.url, sent, request.body)
        return AWSResponse(request.url, status, headers, MockRawResponse(body))

    @property
    def evaluations(self) -> list[config.Evaluation]:
        """What AWS Config's rules said of resources, in order."""
        return config.evaluations()

    def reset(self) -> None:
        """Empty AWS again, and let EC2 behave as it does by default."""
        moto_api_backend.reset()
        self._sessions = {key: session for key, session in self._sessions.items() if key[1] == ACCOUNT}
        self.ec2.reset()
        self.calls.clear()


@contextmanager
def serving() -> Iterator[Cloud]:
    """Serve AWS on a free loopback port until the block ends.

    For as long, this process's own environment points there as well. moto's backends and whatever else makes a client
    in this process then cannot reach a real account, nor stumble over an `AWS_PROFILE` of the caller's.
    """
    ec2.install()
    config.install()
    logs.install()
    queues.install()
    calls: list[Call] = []
    moto = DomainDispatcherApplication(create_backend_app)
    # moto looks through its own folders, and through a service's class, at every call.
    moto.get_backend_for_host = cache(moto.get_backend_for_host)
    responses.method_names_from_class = cache(method_names_from_class)
    app = Recorder(moto, calls)
    listener = Listener(partial(answer, app))
    cloud = Cloud(listener.endpoint, calls, answer=listener.answer)
    thread = Thread(target=partial(listener.serve_forever, poll_interval=0.05), daemon=True)
    # An account starts in 5 ms without moto's 1301 AMIs, in 110 with them.
    environment = cloud.environment() | {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}
    with mock.patch.dict(os.environ, environment, clear=True):
        cloud.reset()
        thread.start()
        try:
            yield cloud
        finally:
            listener.shutdown()
            listener.server_close()
            thread.join()


def answer(
    app: Callable[..., Any], method: str, url: str, headers: list[tuple[str, str]], body: bytes
) -> tuple[int, Headers, bytes]:
    """Return a WSGI application's answer to a request: status, headers and body."""
    environ = create_environ(url, method=method, headers=headers, data=body)
    answered, status, sent = run_wsgi_app(app, environ, buffered=True)
    return int(status[:3]), sent, b"".join(answered)


def credentials(account: str) -> dict[str, str]:
    """Return credentials of an account, as environment variables.

    moto distinguishes accounts by the access key, and knows the keys that its STS created for a role of an account.
    """
    if account == ACCOUNT:
        return {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_SESSION_TOKEN": "testing"}
    role = sts_backends[account]["aws"].assume_role(
        REGION,
        role_arn=f"arn:aws:iam::{account}:role/administrator",
        role_session_name="local",
        policy=None,
        duration=3600,
        external_id=None,
    )
    return {
        "AWS_ACCESS_KEY_ID": role.access_key_id,
        "AWS_SECRET_ACCESS_KEY": role.secret_access_key,
        "AWS_SESSION_TOKEN": role.session_token,
    }


class Recorder:
    """WSGI middleware before `app`: appends each API call to `calls` when its answer is ready.

    Many threads do so, without a lock: appending to a list is atomic.
    """

    def __init__(self, app, calls: list[Call]) -> None:
        self.app = app
        self.calls = calls

    def __call__(self, environ, start_response):
        """Answer as `app` does. What has no AWS signature is no API call, and is not noted."""
        service, region = signed_for(environ)
        action = service and asked_action(environ, service)
        status = 0

        def start(line, headers, exc_info=None):
            nonlocal status
            status = int(line.split(" ", 1)[0])
            return start_response(line, headers, exc_info)

        body = self.app(environ, start)
        if service and status >= HTTPStatus.BAD_REQUEST:
            body = [b"".join(body)]
            self.calls.append(Call(service, action, region, error_code(body[0]) or str(status)))
        elif service:
            self.calls.append(Call(service, action, region, None))
        return body


def signed_for(environ) -> tuple[str, str]:
    """Return service and region that a request is signed for: `Credential=KEY/20260131/us-east-1/ec2/aws4_request`."""
    scope = re.search(r"Credential=[^/]*/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return (scope[2], scope[1]) if scope else ("", "")


def asked_action(environ, service: str) -> str:
    """Return the action's name: from the header (JSON services), the form (query services) or the path (REST)."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return target.rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        form = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = BytesIO(form)
        return parse_qs(form.decode())["Action"][0]
    try:
        operation, _ = get_service_router(service).match(Request(environ, populate_request=False))
    except (NotFound, UnknownServiceError):
        return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    return operation.name


def error_code(body: bytes) -> str | None:
    """Return the code in an error's body: `<Code>` in XML, `__type` in JSON, with a namespace before a `#`."""
    code = re.search(rb'<Code>([^<]+)</Code>|"__type": ?"(?:[^"#]*#)?([^"]+)"', body)
    return (code[1] or code[2]).decode() if code else None
