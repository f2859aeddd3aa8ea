"""Put bytecode into the zip of a deployed policy: Lambda would compile all of c7n at every cold start.

Lambda's code folder cannot be written to, so that Python cannot keep there what it has compiled; and c7n leaves
bytecode out of its zips, for it may be of another Python than the function's. So it is made for the zip by a Python of
the function's version: this one, or one that is on the PATH by the runtime's name (``python3.13``), which needs nothing
installed. It is of the kind that is not compared with its source (unchecked hash-based,
https://peps.python.org/pep-0552/), for the times of files in a zip are c7n's own choice. A Python of another version
looks for another file's name, and compiles as without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import marshal
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path, PurePosixPath
from typing import Any

log = logging.getLogger("custodian.serverless")

PACKAGE = "c7n_ingress"
SHIPPED = ("c7n", PACKAGE)
"""The packages of which bytecode is made: what else the function imports is Lambda's own."""

OURS = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""This Python, as Lambda names its runtimes."""

NONE = "the zip has no bytecode, so that cold starts take longer"

UNCHECKED = (0b01).to_bytes(4, "little")
"""The flags of bytecode that goes by its source's hash, which is not looked at."""

HASH = slice(8, 16)
"""Where the hash of its source stands in such bytecode."""

READ_BY_ALL = 2
"""A version of marshal's format that every Python reads and writes; bytecode itself is in its own Python's."""


def install() -> None:
    """Have every policy that is deployed with this package carry bytecode."""
    from c7n import mu  # noqa: PLC0415 - a function never needs it, so it is not compiled for one

    try:
        mu.PolicyLambda.get_archive = with_bytecode(mu.PolicyLambda.get_archive)
    except AttributeError:
        log.warning(NONE, exc_info=True)


def with_bytecode(get_archive: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap c7n's method that finishes a policy's zip. Where no bytecode can be had, the zip is c7n's own."""

    @wraps(get_archive)
    def get(function: Any) -> Any:
        try:
            if PACKAGE in (function.packages or ()):
                made = of_a_cold_start(function.runtime)
                for name, content in made.items():
                    check_source(name, content)
                for name, content in made.items():
                    function.archive.add_contents(name, content)
        except NoPythonError as error:
            log.info("%s: %s", NONE, error)
        except Exception:  # whatever a later c7n or Python does otherwise
            log.warning(NONE, exc_info=True)
        return get_archive(function)

    return get


class NoPythonError(Exception):
    """There is no Python here of a function's version."""


@cache
def of_a_cold_start(runtime: str) -> dict[str, bytes]:
    """Give the bytecode of what a deployed function loads, by its name in the zip.

    Processes of their own find out what that is, and compile it: what this one has loaded besides would be loaded
    there, too, and the bytes would differ from one deployment to the next, so that c7n would take the function's code
    for changed.

    :param runtime: the function's Python, as Lambda names it.
    :raises NoPythonError: there is none of that version here; the message has the mend.
    :raises subprocess.CalledProcessError: a process failed, and said why on standard error.
    """
    python = interpreter(runtime)
    if python is None:
        mend = f"install {runtime}, so that it runs from the PATH where you deploy; it needs no packages"
        raise NoPythonError(f"{mend}{or_take_this_one()}")
    loaded = output_of([sys.executable, "-m", f"{PACKAGE}.bytecode"])
    return dict(marshal.loads(output_of([python, "-S", __file__], loaded)))  # noqa: S302 - from the process above


def or_take_this_one() -> str:
    """Give the other mend, which installs nothing: where Custodian takes this Python, the policy may name it."""
    from c7n.policy import LambdaMode  # noqa: PLC0415 - a function never deploys

    taken = LambdaMode.schema["properties"]["runtime"]["enum"]
    return f"; or write `runtime: {OURS}` under the policy's `mode:`, the Python that deploys" if OURS in taken else ""


@cache
def interpreter(runtime: str) -> str | None:
    """Give the path of a Python of a runtime's version, if there is one: this one, or one on the PATH by its name.

    A file of that name need not be one: a version manager puts one there for each Python that it could run.
    """
    if runtime == OURS:
        return sys.executable
    if (found := shutil.which(runtime)) is None:
        return None
    asked = "import sys; print('python{}.{}'.format(*sys.version_info))"
    said = subprocess.run([found, "-S", "-c", asked], capture_output=True, text=True, check=False)  # noqa: S603
    return found if said.stdout.strip() == runtime else None


def output_of(command: list[str], given: bytes = b"") -> bytes:
    """Give what a Python prints that finds modules as this one does, and not in the folder that it is started in.

    :raises subprocess.CalledProcessError: it failed, and said why on standard error.
    """
    environment = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_FUNCTION_NAME"}
    environment |= {"PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, env=environment, input=given, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603


def check_source(name: str, content: bytes) -> None:
    """See to it that a module's bytecode is of the source that c7n ships: what this process has imported.

    The process that compiles may find another one first, as where c7n is run from a clone's folder; a function would
    run that, for it does not look at its source.

    :raises ValueError: it is of another source.
    """
    source = importlib.util.source_from_cache(name)
    (folder,) = importlib.import_module(PurePosixPath(source).parts[0]).__path__
    shipped = Path(folder).parent / source
    if importlib.util.source_hash(shipped.read_bytes()) != content[HASH]:
        raise ValueError(f"what was compiled is not {shipped}")


def loaded_at_a_cold_start() -> dict[str, str]:
    """Give the sources of what a deployed function loads, by their names in the zip."""
    import c7n_ingress.lambda_entry  # noqa: F401, PLC0415 - what it loads is what is asked for

    specs = (module.__spec__ for name, module in sorted(sys.modules.items()) if name.partition(".")[0] in SHIPPED)
    sources = {}
    for spec in specs:
        if spec and spec.has_location:
            path = PurePosixPath(*spec.name.split("."))
            path = path / "__init__.py" if spec.submodule_search_locations else path.with_suffix(".py")
            sources[str(path)] = str(spec.origin)
    return sources


def compiled(path: PurePosixPath, source: bytes) -> tuple[str, bytes]:
    """Compile a module, and give where Python looks for its bytecode, and that."""
    code = compile(source, str(path), "exec", dont_inherit=True, optimize=0)
    header = importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source)
    cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
    return str(cached), header + marshal.dumps(code)


if __name__ == "__main__":
    if __spec__:  # as a module: where c7n is
        sys.stdout.write(json.dumps(loaded_at_a_cold_start()))
    else:  # as a file: by whatever Python is the function's
        made = dict(compiled(PurePosixPath(name), Path(at).read_bytes()) for name, at in json.load(sys.stdin).items())
        sys.stdout.buffer.write(marshal.dumps(made, READ_BY_ALL))
