"""Commands, each in a process forked from one that has loaded what it imports: a start costs 20 ms, not a second."""

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

from c7n_ingress import bytecode

ROOT = Path(__file__).parents[2]
INSTALLED, OWN = "installed", "own"
C7N_INGRESS = Path(sys.executable).with_name("c7n-ingress")
LOADED = {
    INSTALLED: (
        "c7n_org.cli",
        "c7n.commands",
        "c7n.handler",
        "c7n.mu",
        "c7n.resources.aws",
        "c7n.resources.ec2",
        "c7n.resources.vpc",
    ),
    OWN: ("c7n_ingress_tools.rehearsal.run", "c7n_ingress_tools.rehearsal.warm"),
}
"""What is loaded for which kind of command: a stock one, or the pack's own."""
ONE_AT_A_TIME = Lock()
SHIPPED_RUNTIME = "python3.13"


def forked(command, *, env, cwd):
    """Run a command that is beside Python, as its script does, and return what `subprocess.run` returns for text.

    Text is UTF-8, whatever the locale. The process has this environment and folder, and nothing on standard input. It
    differs from a started one in two ways: modules are loaded and botocore's files are read before it begins, and the
    garbage collector runs less often.
    """
    command = [str(word) for word in command]
    with TemporaryDirectory() as folder, ONE_AT_A_TIME:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        order = {"command": command, "env": env, "cwd": str(cwd), "outputs": list(map(str, outputs))}
        server = served(OWN if command[0] == str(C7N_INGRESS) else INSTALLED)
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(command, code, *(path.read_text(encoding="utf-8") for path in outputs))


@cache
def served(kind):
    """Start the process that forks; it ends when its standard input is closed."""
    python = [sys.executable, "-X", "utf8", __file__, kind]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))}
    return subprocess.Popen(python, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def load(kind):
    """Load what each of the commands would load."""
    for module in LOADED[kind]:
        import_module(module)
    if kind == INSTALLED:
        read_models()
    pass_over_what_is_loaded()


def pass_over_what_is_loaded():
    """Make the garbage collector skip what stays, all of c7n and moto, and run less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def read_models():
    """Read what each of c7n's commands would read of botocore, and make what it would make of itself."""
    import_module("c7n_ingress_tools.embedded_aws.models").share()
    for service in ("ec2", "sts", "sqs", "lambda", "iam", "config"):
        boto3.Session(region_name="us-east-1").client(service)
    if bytecode.interpreter(SHIPPED_RUNTIME):
        bytecode.of_a_cold_start(SHIPPED_RUNTIME)  # each deployment would make it again


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
    """Fork for each order that comes in, and write how it ended."""
    load(*sys.argv[1:])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
