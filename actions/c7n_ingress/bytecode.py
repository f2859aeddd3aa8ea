"""Put bytecode into the zip of a deployed policy: Lambda would compile all of c7n at every cold start.

Lambda's code folder is read-only, so Python cannot keep there what it has compiled. c7n leaves bytecode out of its
zips, as it may be of another Python than the function's. So a Python of the function's version makes it for the zip:
this one, or one that is on the PATH by the runtime's name (``python3.13``), which needs no packages. Python does not
compare this bytecode with its source (unchecked hash-based, https://peps.python.org/pep-0552/), as c7n chooses the
times of files in a zip. A Python of another version looks for a file of another name, and compiles as without it.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

log = logging.getLogger("custodian.serverless")

PACKAGE = "c7n_ingress"
SHIPPED = ("c7n", PACKAGE)
"""The packages that bytecode is made for: Lambda has what else the function imports."""

OURS = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""This Python, as Lambda names its runtimes."""

NONE = "the zip has no bytecode, so cold starts take longer"
FIX = (
    "install {} on the PATH where you deploy; it needs no packages. Or write "
    f"`runtime: {OURS}` under the policy's `mode:`: the Python that deploys, if AWS and c7n support it"
)

LONGEST = 60
"""How many seconds a Python on the PATH has to compile. It takes two."""


def install() -> None:
    """Put bytecode into the zip of every policy that is deployed with this package."""
    from c7n import mu

    try:
        mu.PolicyLambda.get_archive = with_bytecode(mu.PolicyLambda.get_archive)
    except AttributeError:
        log.warning(NONE, exc_info=True)


def with_bytecode(get_archive: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap c7n's method that finishes a policy's zip. If no bytecode can be made, the zip is c7n's own."""

    @wraps(get_archive)
    def get(function: Any) -> Any:
        try:
            if PACKAGE in (function.packages or ()):
                made = of_a_cold_start(function.runtime)
                for name, content in made.items():
                    function.archive.add_contents(name, content)
                if not made:
                    log.info("%s: %s", NONE, FIX.format(function.runtime))
        except Exception:  # a later c7n or Python may differ
            log.warning(NONE, exc_info=True)
        return get_archive(function)

    return get


def of_a_cold_start(runtime: str) -> dict[str, bytes]:
    """Return the bytecode of what a deployed function loads, by its name in the zip.

    Other processes find out what that is, and compile it. This process has loaded more, so the bytes would differ from
    one deployment to the next, and c7n would see changed code.

    :param runtime: the function's Python, as Lambda names it. If there is none of that version here, nothing is made.
    """
    python = sys.executable if runtime == OURS else shutil.which(runtime)
    return compiled_by(python, runtime, tuple(sources())) if python else {}


def sources() -> Iterator[tuple[str, bytes]]:
    """Return the sources of what a deployed function loads, with their names in the zip: those of this process.

    The process that lists what is loaded may find others first, as when c7n runs in a clone's folder.
    """
    for name in names_at_a_cold_start():
        if (path := folder_of(name.partition("/")[0]) / name).exists():
            yield name, path.read_bytes()


def folder_of(package: str) -> Path:
    """Return the folder from which this process imports a package."""
    return Path(importlib.import_module(package).__path__[0]).parent


@cache
def names_at_a_cold_start() -> list[str]:
    """Return the names in the zip of what a deployed function loads, from a process that loads it."""
    # By `python -m`, it would look for modules in the current folder first, where anything may be.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {PACKAGE} import bytecode; bytecode.main()"
    command = [sys.executable, "-c", code]
    names: list[str] = json.loads(subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True).stdout)
    return names


@cache
def compiled_by(python: str, runtime: str, sources: tuple[tuple[str, bytes], ...]) -> dict[str, bytes]:
    """Compile sources by another Python, and return their bytecode by its name in the zip.

    It is empty if the command is no Python of that version: PyPy has another bytecode, and a version manager may ask
    what to install.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        for path, source in sources:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(source)
        options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", name]
        command = [python, "-S", "-m", "compileall", *options, name]
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                command,
                cwd=folder,  # for `-m`, as above
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=LONGEST,
                check=False,
            )
        compiled = sorted(folder.rglob(f"*.{runtime.replace('python3.', 'cpython-3')}.pyc"))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in compiled}


def environment() -> dict[str, str]:
    """Return the environment of a Python that writes what this one would."""
    others = ("AWS_LAMBDA_FUNCTION_NAME", "PYTHONOPTIMIZE", "PYTHONPYCACHEPREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    return {**kept, "PYTHONHASHSEED": "0"}


def main() -> None:
    """Print the names in the zip of what a deployed function loads."""
    import c7n_ingress.lambda_entry  # noqa: F401 - what it loads is listed

    loaded = [(name.partition(".")[0], module) for name, module in sorted(sys.modules.items())]
    files = [(package, module.__file__) for package, module in loaded if package in SHIPPED and module.__file__]
    sys.stdout.write(json.dumps([Path(file).relative_to(folder_of(package)).as_posix() for package, file in files]))
