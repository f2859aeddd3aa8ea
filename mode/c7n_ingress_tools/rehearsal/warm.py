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
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMMANDS = {
    "custodian": "c7n.cli:main",
    "mailer": "c7n_ingress_tools.rehearsal.mailing:main",
    "c7n-ingress": "c7n_ingress_tools.cli:main",
}
"""Each command, and the function that it calls."""

LOADED = (
    *("c7n.cli", "c7n.commands", "c7n.policy", "c7n.resources.aws", "c7n_ingress_tools.rehearsal.mailing"),
    *("c7n_ingress_tools.cli", "c7n_ingress_tools.undo"),
)
"""What is loaded before a call, in the order in which it is wanted: also what c7n loads when it is called."""

SERVICES = ("sts", "ec2", "config", "lambda", "iam", "logs", "sqs", "sns", "ses")
"""The services that the commands call: their models are read once."""


CALLER = Path(__file__).with_name("warm_caller.py")


@contextmanager
def commands(more: Iterable[str] = (), module: str = "c7n_ingress_tools.rehearsal.warm") -> Iterator[Path]:
    """Start the process, and return a folder with the commands until the block ends.

    A command that is called before everything is loaded waits for it.

    :param more: names of further commands.
    :param module: what the process runs; it calls `main`, and knows the further commands.
    """
    with tempfile.TemporaryDirectory() as temporary, socket.socket(socket.AF_UNIX) as listener:
        folder = Path(temporary)
        address = str(folder / "socket")
        for name in (*COMMANDS, *more):
            # Isolated, and without site-packages: this interpreter starts in 30 milliseconds.
            call = shlex.join([sys.executable, "-I", "-S", str(CALLER), address, str(folder / name)])
            (folder / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
            (folder / name).chmod(0o755)
        listener.bind(address)
        listener.listen()  # before the process is there, so that earlier calls wait in the queue
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(listener.fileno())], pass_fds=[listener.fileno()], stdin=subprocess.PIPE
        )
        listener.close()
        with process:
            try:
                yield folder
            finally:
                process.terminate()


def main(descriptor: str) -> None:
    """Load everything, and serve until the process that started this ends it, or is gone itself.

    Its standard input ends with that process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes of calls
    importlib.import_module("c7n_ingress_tools.embedded_aws.models").share()
    for module in LOADED:
        importlib.import_module(module)
    importlib.import_module("c7n.resources").load_resources(("aws.security-group",))
    boto3 = importlib.import_module("boto3")
    for service in SERVICES:
        boto3.Session("none", "none", region_name="us-east-1").client(service)  # calls nobody
    gc.freeze()  # what is loaded stays: no call's collector looks through it, and copies its pages
    with socket.socket(fileno=int(descriptor)) as listener:
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            caller, _ = listener.accept()
            if os.fork() == 0:
                with Connection(caller.detach()) as connection:
                    _answer(connection)
            caller.close()


def _answer(connection: Connection) -> None:
    """Run the command of one call in one more process, which this one waits for; that one ends as any interpreter does.

    :raises SystemExit: always.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        connection.send(os.waitstatus_to_exitcode(status))
        os._exit(0)
    sys.argv, environment, folder = connection.recv()
    for descriptor in range(3):
        os.dup2(recv_handle(connection), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    name = COMMANDS[Path(sys.argv[0]).name]
    sys.exit(EntryPoint(name, name, "").load()())


if __name__ == "__main__":
    main(sys.argv[1])
