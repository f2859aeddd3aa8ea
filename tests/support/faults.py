"""AWS that fails: microburst, which speaks AWS's errors in each service's own way, in front of the embedded AWS."""

import asyncio
import logging
import multiprocessing
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Thread
from unittest import mock
from urllib.parse import parse_qs

from aiohttp import web
from botocore.config import Config
from microburst.app import make_app
from microburst.core.pipeline import Microburst
from microburst.detection import host
from microburst.forward import Upstream
from werkzeug.datastructures import Headers

from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.support.embedded import act, cases

CASES = cases("faults")
"""What can go wrong with which calls."""

SILENT = logging.getLogger("proxy")
"""Takes the proxy's own tracebacks: a client that has hung up is what is wanted here."""
SILENT.setLevel(logging.CRITICAL)

host._endpoint_prefix_map = dict
"""Calls are signed, so they name their service: the hosts of all services need not be read from botocore's models."""


@dataclass(eq=False)
class Failing(Cloud):
    """The embedded AWS as it looks from behind the proxy."""

    proxy: "Proxy" = None
    attempts: int = 3
    """How often botocore calls before it stops."""
    patience: float = 60
    """How many seconds a client of this process waits for an answer."""

    def environment(self, *args, **kwargs):
        """Return the environment for a child process whose AWS calls go through the proxy."""
        return super().environment(*args, **kwargs) | {"AWS_MAX_ATTEMPTS": str(self.attempts)}

    def new_session(self, *args, **kwargs):
        """Return a session whose clients call through the proxy."""
        session = super().new_session(*args, **kwargs)
        client = session.client

        def patient(*names, config=None, **more):
            config = settings_of(self.attempts, self.patience, config)
            return client(*names, config=config, **{"endpoint_url": self.endpoint} | more)

        session.client = patient
        return session


@cache
def settings_of(attempts, patience, more):
    """Return a client's settings, the same for the same: a client that is there already is used again."""
    settings = Config(retries={"total_max_attempts": attempts}, read_timeout=patience)
    return settings.merge(more) if more else settings


class Proxy(Microburst):
    """microburst, and a way to do something when a call passes."""

    def __init__(self, cloud):
        super().__init__(cloud.endpoint)
        self.upstream = Gate(cloud, self.stats)

    def breaks(self, *rules):
        """Fail as these rules say, and no others."""
        self.engine.set_rules(list(rules))

    def passing(self, happens):
        """Call a function with the call's name before each call that is forwarded."""
        self.upstream.happens = happens

    def heal(self):
        """Fail no more."""
        self.breaks()
        self.passing(nothing)
        self.fired.clear()


def rules(call, faults, **times):
    """Return microburst's rules that break a call."""
    errors = CASES["services"][call["service"]]
    for fault in faults:
        rule = {key: value for key, value in {**call, **times, **fault}.items() if key != "name"}
        yield (
            {**rule, "error": errors.get(rule["error"], rule["error"])} if isinstance(rule.get("error"), str) else rule
        )


class Gate(Upstream):
    """The way from the proxy to the embedded AWS, where something may happen before a call is forwarded."""

    def __init__(self, cloud, stats):
        super().__init__(cloud.endpoint, stats=stats)
        self.cloud = cloud

    async def start(self):
        """Answer in this process what is forwarded."""
        self.session = NoSocket(self.cloud)

    async def relay(self, request, body, *args, **kwargs):
        """Let something happen, then forward the call."""
        await self.happens(called(request.headers, body))
        return await super().relay(request, body, *args, **kwargs)


@dataclass
class NoSocket:
    """aiohttp's client, as far as microburst uses one: a second socket to a server in this process doubles the work."""

    cloud: Cloud

    async def request(self, method, url, *, headers, data, **_settings):
        """Return the embedded AWS's answer."""
        body = data if isinstance(data, bytes) else await data.read()
        answer = await asyncio.to_thread(self.cloud.answer, method, url, list(headers.items()), body)
        return Answer(*answer)

    async def close(self):
        """Leave the embedded AWS as it is."""


@dataclass
class Answer:
    """An answer, as far as microburst reads one of aiohttp's client: the body is there, and comes in pieces."""

    status: int
    headers: Headers
    body: bytes

    @property
    def content(self):
        """Return what the body is read from."""
        return self

    async def iter_any(self):
        """Return the body whole."""
        yield self.body

    async def iter_chunked(self, size):
        """Return the body in pieces of a size."""
        for start in range(0, len(self.body), size):
            yield self.body[start : start + size]


async def nothing(_call):
    """Let a call pass."""


async def name_as_sqs_does(_request, response):
    """Remove the prefix that microburst puts before errors of SQS: throttling has none (botocore's _retry.json)."""
    if "RequestThrottled" in response.headers.get("x-amzn-query-error", ""):
        response.headers["x-amzn-query-error"] = "RequestThrottled;Sender"


def called(headers, body):
    """Return a call's name, as services that speak JSON or forms have it; None for the others."""
    if target := headers.get("X-Amz-Target"):
        return target.rpartition(".")[2]
    return parse_qs((body or b"").decode()).get("Action", [None])[0]


@contextmanager
def failing(cloud):
    """Serve the proxy on a free loopback port until the block ends, and return the AWS behind it."""
    proxy = Proxy(cloud)
    proxy.heal()
    runner = web.AppRunner(make_app(proxy), access_log=None, logger=SILENT, handler_cancellation=True)

    async def serve():
        runner.app.on_response_prepare.append(name_as_sqs_does)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()

    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(serve(), loop).result()
    _, port = runner.addresses[0]
    try:
        yield Failing(f"http://127.0.0.1:{port}", cloud.calls, cloud.ec2, proxy=proxy)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def act_in_a_process(endpoint, folder, log, action):
    """Run the action: the target of a process that can be killed. Its log goes to a file."""
    os.environ.update(Cloud(endpoint).environment())
    logging.basicConfig(filename=log, level=logging.INFO, format="%(name)s:%(levelname)s %(message)s")
    act(Cloud(endpoint), folder, **action)


def process(aws, folder, **action):
    """Start a process that runs the action, and return it; its log is `folder/log`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "c7n.resources.vpc"])
    started = context.Process(target=act_in_a_process, args=(aws.endpoint, folder, folder / "log", action))
    # The server that forks finds the modules that it is to load beforehand by the environment alone.
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        started.start()
    return started
