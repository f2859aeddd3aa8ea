"""Commands, each in a process forked from one that has loaded what it imports: a start costs 20 ms, not a second.

It is the rehearsal's `warm`, with more commands and more of what they load. A rehearsal that starts here uses this
process again, instead of starting its own. How the commands start by themselves is tested in test_warm, test_install
and test_readme.
"""

import atexit
import gc
import os
import subprocess
import sys
from contextlib import ExitStack, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from c7n_ingress import bytecode
from c7n_ingress_tools.rehearsal import warm

C7N_INGRESS = Path(sys.executable).with_name("c7n-ingress")
MORE = {"aws": "tests.support.forked:aws", "c7n-left": "c7n_left.cli:cli", "c7n-org": "c7n_org.cli:cli"}
LOADED = (
    "awscli.clidriver",
    "c7n.handler",
    "c7n.mu",
    "c7n.resources.ec2",
    "c7n_ingress_tools.rehearsal.run",
    "c7n_left.core",
    "c7n_org.cli",
)
SHIPPED_RUNTIME = "python3.13"


def forked(command, *, env=None, cwd=None):
    """Run a command that is beside Python, as its script does, and return what `subprocess.run` returns for text."""
    name, *arguments = map(str, command)
    return called(commands(), [Path(name).name, *arguments], os.environ if env is None else env, cwd or Path.cwd())


def called(warm_commands, command, environment, folder):
    """Run a command of a process that has loaded it, and return what `subprocess.run` returns for text."""
    with TemporaryDirectory() as outputs:
        files = [Path(outputs, name) for name in ("output", "errors")]
        code = warm_commands.call(command, environment, folder, *files).recv()
        return subprocess.CompletedProcess(command, code, *(file.read_text(encoding="utf-8") for file in files))


def aws():
    """Run `aws`, which finds its own files by a variable that it sets when it is imported."""
    import awscli
    from awscli.clidriver import main

    os.environ["AWS_DATA_PATH"] = os.pathsep.join(awscli._awscli_data_path)
    return main()


@cache
def commands():
    """Start the process that forks, and return its commands; it ends with this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(warm.commands(module=__name__))


def pass_over_what_is_loaded():
    """Make the garbage collector skip what stays, all of c7n and moto, and run less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()


if __name__ == "__main__":
    for each in LOADED:
        import_module(each)
    if bytecode.interpreter(SHIPPED_RUNTIME):
        bytecode.of_a_cold_start(SHIPPED_RUNTIME)  # each deployment would make it again
    gc.set_threshold(50_000)
    __package__ = None  # else click takes it for the commands' name
    warm.COMMANDS.update(MORE)
    _, descriptor, address = sys.argv
    warm.commands = lambda: nullcontext(warm.Commands(address))
    warm.main(descriptor)
