"""Commands, each in a process forked from one that has loaded what it imports: a start costs 20 ms, not a second.

It is the rehearsal's `warm`, with more commands and more of what they load. A rehearsal that starts here uses this
process again, instead of starting its own. How the commands start by themselves is tested in test_warm, test_install
and test_readme.
"""

import atexit
import gc
import os
import shlex
import subprocess
import sys
import zlib
from contextlib import ExitStack, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile

from c7n_ingress_tools.embedded_aws import models
from c7n_ingress_tools.rehearsal import warm

CALLER = Path(__file__).with_name("warm_caller.py")
SHARED = "TESTS_FORKED"
"""The variable with the address of the process that forks."""
C7N_INGRESS = Path(sys.executable).with_name("c7n-ingress")
MORE = {"aws": "tests.support.forked:aws", "c7n-left": "c7n_left.cli:cli", "c7n-org": "c7n_org.cli:cli"}
LOADED = (
    "c7n.handler",
    "c7n.mu",
    "c7n.resources.ec2",
    "c7n_ingress_tools.rehearsal.run",
    "c7n_left.core",
    "c7n_org.cli",
    "awscli.clidriver",
)
"""The AWS CLI comes last: what is imported after it gets its copy of botocore (awscli/__init__.py)."""

# What `zipfile` packs with: here zips are sent nowhere, and this takes half of the time for a tenth more bytes.
zlib.Z_DEFAULT_COMPRESSION = zlib.Z_BEST_SPEED


def forked(command, *, env=None, cwd=None):
    """Run a command that is beside Python, as its script does, and return what `subprocess.run` returns for text."""
    command = [str(commands() / Path(command[0]).name), *map(str, command[1:])]
    environment, folder = os.environ if env is None else env, Path(cwd or ".").absolute()
    with TemporaryFile("w+", encoding="utf-8") as output, TemporaryFile("w+", encoding="utf-8") as errors:
        code = warm.exit_code(serving().call(command, environment, folder, (0, output.fileno(), errors.fileno())))
        for each in (output, errors):
            each.seek(0)
        return subprocess.CompletedProcess(command, code, output.read(), errors.read())


def aws():
    """Run `aws`, which finds its own files by a variable that it sets when it is imported."""
    import awscli
    from awscli.clidriver import main

    os.environ["AWS_DATA_PATH"] = os.pathsep.join(awscli._awscli_data_path)
    return main()


@cache
def serving():
    """Return the process that forks, which the processes that run tests share.

    The first that asks starts it, with a script for each command beside its address. It ends with that one.
    """
    if SHARED in os.environ:
        return warm.Commands(os.environ[SHARED])
    stack = ExitStack()
    atexit.register(stack.close)
    found = stack.enter_context(warm.commands(module=__name__))
    write_scripts(found)
    os.environ[SHARED] = found.address
    return found


def commands():
    """Return a folder with the commands of the process that forks, which a shell can run."""
    return Path(serving().address).parent


def write_scripts(warm_commands):
    """Write a script for each command into the folder of the process's address."""
    folder = Path(warm_commands.address).parent
    for name in (*warm.COMMANDS, *MORE):
        # Isolated, and without site-packages: this interpreter starts in 30 milliseconds.
        call = shlex.join([sys.executable, "-I", "-S", str(CALLER), warm_commands.address, str(folder / name)])
        (folder / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)


def pass_over_what_is_loaded():
    """Make the garbage collector skip what stays, all of c7n and moto, and run less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()


def main(descriptor, address):
    """Load more, and serve as the rehearsal's process does."""
    models.share()  # before moto is imported
    for each in LOADED:
        import_module(each)
    gc.set_threshold(50_000)
    warm.COMMANDS.update(MORE)
    warm.commands = lambda: nullcontext(warm.Commands(address))
    warm.main(descriptor, address)
