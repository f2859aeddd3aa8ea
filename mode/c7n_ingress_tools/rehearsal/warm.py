"""Commands that start at once: a process loads Cloud Custodian and the mailer, and forks for each call of one.

    with commands() as folder:  # while this process does something else, they are loaded
        subprocess.run(["custodian", "run", ...], env={"PATH": f"{folder}:{os.environ['PATH']}"})

What runs is the installed packages' own code, from the function that their commands call, with the caller's arguments,
environment, folder and output. Loading is half of what a short `custodian run` takes, and the demo has three of them.

This module is imported before anything that takes long, and imports little itself.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shlex
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Each command, and the function that it calls.
COMMANDS = {
    "custodian": "c7n.cli:main",
    "mailer": "c7n_ingress_tools.rehearsal.mailing:main",
    "c7n-ingress": "c7n_ingress_tools.cli:main",
}
# What is loaded before a call, in the order in which it is wanted: also what c7n loads when it is called.
LOADED = (
    *("c7n.cli", "c7n.commands", "c7n.policy", "c7n.resources.aws", "c7n_ingress_tools.rehearsal.mailing"),
    *("c7n_ingress_tools.cli", "c7n_ingress_tools.undo"),
)
# What their clients are of, so that the models are read once.
SERVICES = ("sts", "ec2", "config", "lambda", "iam", "logs", "sqs", "sns", "ses")
CALLER = Path(__file__).with_name("warm_caller.py")


@contextmanager
def commands(more: Iterable[str] = (), module: str = "c7n_ingress_tools.rehearsal.warm") -> Iterator[Path]:
    """Start the process, and yield a folder with the commands until the block ends.

    A command that is called before everything is loaded waits for it.

    :param more: names of further commands.
    :param module: what the process runs; it calls `main`, and knows the further commands.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        address = folder / "socket"
        for name in (*COMMANDS, *more):
            # Isolated, and without site-packages: this interpreter starts in ten milliseconds.
            call = shlex.join([sys.executable, "-I", "-S", str(CALLER), str(address), str(folder / name)])
            (folder / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
            (folder / name).chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen()  # before the process is there, so that earlier calls wait in the queue
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(listener.fileno()), str(os.getpid())],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
            )
        try:
            yield folder
        finally:
            process.terminate()
            process.wait()


class Calls(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Serves each call in a process of its own, on a socket that listens already."""

    max_children = 64

    def __init__(self, descriptor: int, parent: int) -> None:
        super().__init__("", Call, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self._parent = parent

    def service_actions(self) -> None:
        """End when the process that started this is gone, however it ended."""
        super().service_actions()
        if os.getppid() != self._parent:
            raise SystemExit


class Call(socketserver.BaseRequestHandler):
    """One call of a command, handled in the forked process: it becomes the command."""

    def handle(self) -> None:
        """Read arguments, environment, folder, input and output; run, and answer with the exit code."""
        order, descriptors, *_ = socket.recv_fds(self.request, 65_536, 3)
        while more := self.request.recv(65_536):
            order += more
        for descriptor, sent in enumerate(descriptors):
            os.dup2(sent, descriptor)
        # The streams of this process know of its own terminal or file only.
        sys.stdin, sys.stdout, sys.stderr = map(_opened, range(3), (sys.stdin, sys.stdout, sys.stderr))
        called = json.loads(order)
        os.chdir(called["folder"])
        os.environ.clear()
        os.environ.update(called["environment"])
        time.tzset()
        sys.argv = called["arguments"]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = _exit_code(COMMANDS[Path(sys.argv[0]).name])
        self.request.sendall(str(code).encode())


def _opened(descriptor: int, stream: TextIO) -> Any:
    """Open a descriptor as the interpreter opened this stream."""
    buffering = 1 if stream is sys.stderr else -1
    return open(descriptor, stream.mode, buffering, stream.encoding, stream.errors, closefd=False)


def _exit_code(name: str) -> int:
    """Call a function as an installed command does, and return the exit code that the interpreter would."""
    code: object
    try:
        code = EntryPoint(name, name, "").load()()
    except SystemExit as done:
        code = done.code
    except BaseException:  # noqa: BLE001 - an interpreter says so, too, and ends with 1
        sys.excepthook(*sys.exc_info())
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code or 0


def main(descriptor: str, parent: str) -> None:
    """Load everything, and serve until the parent ends this or is gone itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    importlib.import_module("c7n_ingress_tools.embedded_aws.models").share()
    for module in LOADED:
        importlib.import_module(module)
    importlib.import_module("c7n.resources").load_resources(("aws.security-group",))
    boto3 = importlib.import_module("boto3")
    for service in SERVICES:
        boto3.Session("none", "none", region_name="us-east-1").client(service)  # calls nobody
    gc.freeze()  # what is loaded stays: no call's collector looks through it, and copies its pages
    Calls(int(descriptor), int(parent)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
