"""Commands that start at once: a process loads Cloud Custodian and the mailer, and forks for each call of one.

    with commands() as found:  # while this process does something else, they are loaded
        code = exit_code(found.call(["custodian", "run", ...], os.environ, folder, (0, 1, 2)))

What runs is the installed packages' own code, from the function that their commands call, with the caller's arguments,
environment, folder and streams. Loading is half of what a short `custodian run` takes, and the demo has three of them.

This module is imported before anything that takes long, and imports little itself.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Client, Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from c7n_ingress_tools.embedded_aws.alone import alone
from c7n_ingress_tools.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from multiprocessing.context import ForkProcess

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

RUNTIME = "python3.13"
"""The runtime of the pack's policies, whose bytecode is made beforehand."""

SERVICES = ("sts", "ec2", "config", "lambda", "iam", "logs", "sqs", "sns", "ses")
"""The services that the commands call: their models are read once."""


class Commands(NamedTuple):
    """The commands of a process that has loaded them, and forks for each call."""

    address: str

    def call(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, streams: Sequence[int]
    ) -> Connection:
        """Start a command. It waits until everything is loaded.

        :param streams: the descriptors of its input, its output and its errors.
        :returns: what :func:`exit_code` waits for.
        """
        connection = Client(self.address, "AF_UNIX")
        connection.send((command, dict(environment), folder))
        for descriptor in streams:
            send_handle(connection, descriptor, 0)
        os.set_blocking(connection.fileno(), True)  # send_handle uses the process's default time-out, if it has one
        return connection


def exit_code(call: Connection) -> int:
    """Wait until a command has ended. One whose process is gone has failed."""
    try:
        return int(call.recv())
    except EOFError:
        return 1


@contextmanager
def commands(module: str = "c7n_ingress_tools.rehearsal.warm") -> Iterator[Commands]:
    """Start the process, and yield its commands until the block ends.

    The process finds modules where this one does. By `python -m`, it would look in the current folder first, where
    anything may be. It is in a session of its own, so that Ctrl-C in a terminal reaches this process alone.

    :param module: the module whose `main` the process runs: it calls this one's, and may know more commands.
    :raises CommandError: the path of the folder for temporary files is too long for a socket's address.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; import {module}; {module}.main(*sys.argv[1:])"
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder, "socket"))
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(address)
            except OSError as error:
                raise CommandError(f"{folder}: {error}: set TMPDIR to a shorter path, such as /tmp") from error
            listener.listen()  # before the process is there, so that earlier calls wait in the queue
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(listener.fileno()), address],
                env=alone(),
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        with process:
            try:
                yield Commands(address)
            finally:
                with suppress(ProcessLookupError):  # it has ended by itself
                    os.killpg(process.pid, signal.SIGTERM)  # and what it has started, which would miss it


def main(descriptor: str, _address: str) -> None:
    """Load everything, and serve until the process that started this ends it, or is gone itself.

    Its standard input ends with that process.
    """
    importlib.import_module("c7n_ingress_tools.embedded_aws.models").share()
    for module in LOADED:
        importlib.import_module(module)
    importlib.import_module("c7n.resources").load_resources(("aws.security-group",))
    boto3 = importlib.import_module("boto3")
    for service in SERVICES:
        boto3.Session("none", "none", region_name="us-east-1").client(service)  # calls nobody
    bytecode = importlib.import_module("c7n_ingress.bytecode")
    bytecode.of_a_cold_start(RUNTIME)  # kept for each deployment
    gc.freeze()  # what is loaded stays: no call's collector looks through it, and copies its pages
    parent = sys.stdin.fileno()
    calls: dict[Any, tuple[ForkProcess, Connection]] = {}  # by what tells that the process has ended
    with socket.socket(fileno=int(descriptor)) as listener:
        while parent not in (ready := wait([listener, parent, *calls])):
            for each in ready:
                if each is listener:
                    connection = Connection(listener.accept()[0].detach())
                    process = get_context("fork").Process(target=_run, args=(connection,))
                    process.start()
                    calls[process.sentinel] = process, connection
                else:
                    process, connection = calls.pop(each)
                    process.join()
                    with connection, suppress(BrokenPipeError):  # the caller is gone
                        connection.send(process.exitcode)


def _run(connection: Connection) -> NoReturn:
    """Run a command as its caller would.

    A process of multiprocessing ends without taking the interpreter apart, for which the system would copy all of its
    memory: this takes longer than many a command.

    :raises SystemExit: always.
    """
    sys.argv, environment, folder = connection.recv()
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(recv_handle(connection), descriptor)
        stream = getattr(sys, f"__{name}__")  # it knows of this process's own terminal or file only
        setattr(sys, name, open(descriptor, stream.mode, 1, stream.encoding, stream.errors, closefd=False))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.exit(pkgutil.resolve_name(COMMANDS[Path(sys.argv[0]).name])())
