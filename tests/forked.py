"""Installed commands, each in a process forked from one that has c7n loaded: a start costs 20 ms, not a second."""

import gc
import json
import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import boto3
from botocore.loaders import JSONFileLoader

from c7n_ingress import bytecode

LOADED = (
    "c7n_org.cli",
    "c7n.commands",
    "c7n.handler",
    "c7n.mu",
    "c7n.resources.aws",
    "c7n.resources.ec2",
    "c7n.resources.vpc",
)
ONE_AT_A_TIME = Lock()
SHIPPED_RUNTIME = "python3.13"


def forked(command, *, env, cwd):
    """Run a command that stands beside Python, as its script does, and give what `subprocess.run` gives of text.

    The process has this environment and folder, nothing on standard input, and an end of its own. All that sets it
    apart from one that was started is that modules are loaded, and botocore's files read, before it begins.
    """
    command = [str(word) for word in command]
    with TemporaryDirectory() as folder, ONE_AT_A_TIME:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        order = {"command": command, "env": env, "cwd": str(cwd), "outputs": list(map(str, outputs))}
        server = served()
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(command, code, *(path.read_text() for path in outputs))


@cache
def served():
    """Start the process that forks; it ends when nothing can come any more on its standard input."""
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def load():
    """Load what each of the commands would load."""
    for module in LOADED:
        import_module(module)
    read = JSONFileLoader().load_file
    read_once = cache(read)
    # What botocore reads of S3 it also changes, at each client.
    JSONFileLoader.load_file = lambda _self, path: (read if "/s3/" in path else read_once)(path)
    for service in ("ec2", "sts", "sqs", "lambda", "iam", "config"):
        boto3.Session(region_name="us-east-1").client(service)
    if bytecode.OURS == SHIPPED_RUNTIME:
        bytecode.of_a_cold_start(SHIPPED_RUNTIME)  # each deployment would make it anew
    gc.freeze()


def become(command, env, cwd, outputs):
    """Run a command's entry point in this process, as if it had been started so."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = command
    (entry,) = entry_points(group="console_scripts", name=Path(command[0]).name)
    sys.exit(entry.load()())


def main():
    """Fork for each order that comes in, and tell how it ended."""
    load()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
