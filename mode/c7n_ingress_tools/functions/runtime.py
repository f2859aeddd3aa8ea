"""Lambda on this machine: the zip that was deployed, run as AWS runs it.

    with deployed(cloud, "custodian-open-ingress") as function:
        answer = function.invoke(event)

AWS's own runtime client for Python (`awslambdaric`, which is in Lambda's image) runs in its own process and gets its
events from a small Runtime API. The process has the zip's content as its task root, boto3 and awslambdaric with their
requirements, and Python's standard library. `python -S` hides every other installed package, so c7n and the actions
come from the zip alone.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html (Runtime API),
https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html (environment variables),
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html (an environment is used repeatedly, and
replaced after a time-out or a crash).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from contextlib import contextmanager
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from queue import Empty, LifoQueue, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from c7n.mu import generate_requirements
from werkzeug.datastructures import Headers

from c7n_ingress_tools.embedded_aws import logs, services
from c7n_ingress_tools.embedded_aws.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    import boto3

    from c7n_ingress_tools.embedded_aws.server import Cloud

API = "/2018-06-01/runtime"
PROVIDED = ("boto3", "awslambdaric")
"""What is in Lambda's image, besides Python."""

MAIN = """
import os, sys
sys.path[0] = os.getcwd()
from awslambdaric import bootstrap
from awslambdaric.__main__ import main
bootstrap.StandardLogSink.log = lambda _sink, message, _kind=None: sys.stdout.write(message.rstrip("\\n") + "\\n")
main(sys.argv)
"""
"""What a function's process runs: `python -m awslambdaric`, but each log message ends its line, also after a traceback.

Lambda keeps messages apart by frames (`FramedTelemetryLogSink`).
"""

INIT_TIMEOUT = 60.0
"""Ten seconds in Lambda, where a function does not share two cores with thirty others."""


class FunctionError(Exception):
    """The function did not answer: it raised, could not be loaded, ran out of time or ended.

    `error_type` and `error_message` are as Lambda reports them. `log` is what the function wrote during this event.
    """

    def __init__(self, error_type: str, error_message: str, log: str) -> None:
        super().__init__(f"{error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message
        self.log = log


@contextmanager
def deployed(
    cloud: Cloud,
    name: str,
    *,
    session: boto3.Session | None = None,
    processes: int = 1,
    folder: Path | None = None,
) -> Iterator[Function]:
    """Run a deployed function from its own zip and configuration until the block ends.

    :param folder: where the zip, its content (`task`) and a log for each process are kept; by default they are deleted.
    """
    found = (session or cloud.session()).client("lambda").get_function(FunctionName=name)
    configuration = found["Configuration"]
    _, _, _, region, account, *_ = configuration["FunctionArn"].split(":")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (folder or Path(temporary)).absolute()
        runtime = Path(temporary, "runtime")
        archive = folder / f"{name}.zip"
        archive.write_bytes(services.code_at(urlsplit(found["Code"]["Location"]).path) or b"")
        unpack(archive, folder / "task")
        _provide(runtime)
        environment = _environment(configuration, cloud.environment(region=region, account=account)) | {
            "LAMBDA_TASK_ROOT": str(folder / "task"),
            "LAMBDA_RUNTIME_DIR": str(runtime),
            "PYTHONPATH": str(runtime),
        }
        function = Function(configuration, environment, [folder / f"lambda-{n + 1}.log" for n in range(processes)])
        try:
            yield function
        finally:
            function.close()


class Function:
    """A deployed function, with one process for each of its logs."""

    def __init__(self, configuration: dict[str, Any], environment: dict[str, str], logs: list[Path]) -> None:
        self.logs = logs
        self._sandboxes = [Sandbox(configuration, environment, log) for log in logs]
        self._idle: LifoQueue[Sandbox] = LifoQueue()
        for sandbox in reversed(self._sandboxes):
            self._idle.put(sandbox)

    def invoke(self, event: Any) -> Any:
        """Invoke the function with an event, and return its answer. Several threads may do so at once.

        The process that was busy last is the first to be used, so that no process starts while a warm one is idle.
        """
        sandbox = self._idle.get()
        try:
            return sandbox.invoke(event)
        finally:
            self._idle.put(sandbox)

    def stop(self) -> None:
        """Kill the processes, as AWS does. The next event starts another."""
        for sandbox in self._sandboxes:
            sandbox.stop()

    def close(self) -> None:
        """End the processes."""
        for sandbox in self._sandboxes:
            sandbox.close()


class Sandbox(Listener):
    """What AWS calls an execution environment: one process, which takes one event after another from a Runtime API."""

    _ready = False
    """Whether the process has asked for its first event."""

    def __init__(self, configuration: dict[str, Any], environment: dict[str, str], log: Path) -> None:
        super().__init__(self.respond)
        self._configuration = configuration
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._new_queues()
        self.start()

    def invoke(self, event: Any) -> Any:
        """Send an event to the process, and return its answer. Start the process first if there is none.

        The function's time-out starts when its code is loaded, as in Lambda.
        """
        start = self._log.stat().st_size if self._log.exists() else 0
        try:
            if self._process is None:
                self._start()
                self._answer(INIT_TIMEOUT, start)
            timeout, request = self._configuration["Timeout"], str(uuid.uuid4())
            self._write(f"START RequestId: {request} Version: $LATEST")
            headers = {
                "Lambda-Runtime-Aws-Request-Id": request,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + timeout) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": self._configuration["FunctionArn"],
                "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
                "Content-Type": "application/json",
            }
            self.events.put((HTTPStatus.OK, Headers(headers), json.dumps(event).encode()))
            return self._answer(timeout, start)
        finally:
            self._write(*self._log_since(start).rstrip("\n").split("\n"))

    def stop(self) -> None:
        """Kill the process, as AWS does. The next event starts another."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.events.put((HTTPStatus.GONE, Headers(), b""))
            self._new_queues()

    def close(self) -> None:
        """Kill the process, and stop serving."""
        self.stop()
        super().close()

    def respond(self, _method: str, url: str, _headers: object, body: bytes) -> tuple[int, Headers, bytes]:
        """Answer `/invocation/next` with the next event, and accept answers, errors and errors of the start."""
        path = url.removeprefix(self.endpoint + API)
        if path == "/invocation/next":
            if not self._ready:
                self._ready = True
                self.answers.put(("response", b"null"))
            return self.events.get()
        matched = re.fullmatch(r"/(?:invocation/[^/]+/(response|error)|(init)/error)", path)
        if matched is None:
            return HTTPStatus.NOT_FOUND, Headers(), b""
        # Before the client gets its answer: so the requests keep their order, although each has its own thread.
        self.answers.put((matched[1] or matched[2], body))
        return HTTPStatus.ACCEPTED, Headers(), b'{"status":"OK"}'

    def _new_queues(self) -> None:
        """Forget what a process that is gone asked for and answered."""
        self._ready = False
        self.events: Queue[tuple[int, Headers, bytes]] = Queue()
        """What the requests for the next event are answered with. Of a process that was killed, one still waits."""
        self.answers: Queue[tuple[str, bytes]] = Queue()
        """The process's answers, by kind: a response (the first one is that it is ready), an error of the function's,
        or what ends the process: init (the code could not be loaded) or exit.
        """

    def _start(self) -> None:
        handler = self._configuration["Handler"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", MAIN, handler],
                cwd=self._environment["LAMBDA_TASK_ROOT"],
                env=self._environment
                | {"_HANDLER": handler, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server_port}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._process, answers = process, self.answers

        def report_exit() -> None:
            says = f"Runtime exited with error: exit status {process.wait()}"
            answers.put(("exit", _error("Runtime.ExitError", says)))

        Thread(target=report_exit, daemon=True).start()

    def _answer(self, timeout: float, start: int) -> Any:
        """Wait for a response, and return it.

        :raises FunctionError: there was another answer or none. It has the log since `start`.
        """
        try:
            kind, body = self.answers.get(timeout=timeout)
        except Empty:
            kind, body = "timeout", _error("Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds")
        answer = json.loads(body)
        if kind == "response":
            return answer
        if kind != "error":
            self.stop()
        raise FunctionError(answer["errorType"], answer["errorMessage"], self._log_since(start))

    def _write(self, *lines: str) -> None:
        """Write lines to CloudWatch Logs."""
        _, _, _, region, account, _, name = self._configuration["FunctionArn"].split(":")[:7]
        logs.write(account, region, f"/aws/lambda/{name}", self._log.stem, lines)

    def _log_since(self, start: int) -> str:
        return self._log.read_bytes()[start:].decode(errors="replace")


def _error(kind: str, message: str) -> bytes:
    """Return an error that the platform reports, as a function reports its own."""
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def unpack(path: Path, task: Path) -> None:
    """Unpack a zip into the folder that a function runs in."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(task)
    make_outputs(task)


def make_outputs(task: Path) -> None:
    """Create the folders in /tmp into which c7n writes: two processes must not try to create the same one at once.

    In AWS each environment has its own /tmp. Here all share it.
    """
    if (task / "config.json").exists():
        for policy in json.loads((task / "config.json").read_bytes())["policies"]:
            Path("/tmp", policy["name"]).mkdir(exist_ok=True)  # noqa: S108 - c7n's own choice in Lambda


def _provide(runtime: Path) -> None:
    """Link what Lambda's image provides into a new folder, with all requirements."""
    runtime.mkdir()
    for line in generate_requirements(PROVIDED, include_self=True).splitlines():
        distribution = metadata.distribution(line.partition("==")[0])
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            (runtime / top).symlink_to(str(distribution.locate_file(top)))


def _environment(configuration: dict[str, Any], aws: dict[str, str]) -> dict[str, str]:
    """Return the environment that Lambda sets. It has no variables of the caller's shell."""
    name = configuration["FunctionName"]
    return {
        **{variable: value for variable, value in aws.items() if variable.startswith("AWS_")},
        **configuration.get("Environment", {}).get("Variables", {}),
        "AWS_REGION": aws["AWS_DEFAULT_REGION"],
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{configuration['Runtime']}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration["MemorySize"]),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TZ": ":UTC",
    }
