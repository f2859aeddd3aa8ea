"""Put bytecode into the zip of a deployed policy: Lambda would compile all of c7n at every cold start.

Lambda's code folder cannot be written to, so that Python cannot keep there what it has compiled; and c7n leaves
bytecode out of its zips, for it may be of another Python than the function's. So it is made for the zip where this
Python is of the function's version. It is of the kind that is not compared with its source (unchecked hash-based,
https://peps.python.org/pep-0552/), for the times of files in a zip are c7n's own choice. A Python of another version
looks for another file's name, and compiles as without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import marshal
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, wraps
from importlib.machinery import ModuleSpec
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
            if PACKAGE in (function.packages or ()) and function.runtime == OURS:
                made = of_a_cold_start()
                for name, content in made.items():
                    check_source(name, content)
                for name, content in made.items():
                    function.archive.add_contents(name, content)
        except Exception:  # whatever a later c7n or Python does otherwise
            log.warning(NONE, exc_info=True)
        return get_archive(function)

    return get


@cache
def of_a_cold_start() -> dict[str, bytes]:
    """Give the bytecode of what a deployed function loads, by its name in the zip.

    A process of its own makes it: what this one has loaded besides would be loaded there, too, and the bytes would
    differ from one deployment to the next, so that c7n would take the function's code for changed.

    :raises subprocess.CalledProcessError: it failed, and said why on standard error.
    """
    environment = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_FUNCTION_NAME"}
    made = subprocess.run(  # noqa: S603 - this Python, and this file
        [sys.executable, "-m", f"{PACKAGE}.bytecode"],
        env=environment | {"PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(marshal.loads(made.stdout))  # noqa: S302 - from the process above


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


def compiled(spec: ModuleSpec) -> tuple[str, bytes]:
    """Compile a module, and give where Python looks for its bytecode, and that."""
    path = PurePosixPath(*spec.name.split("."))
    path = path / "__init__.py" if spec.submodule_search_locations else path.with_suffix(".py")
    source = Path(str(spec.origin)).read_bytes()
    code = compile(source, str(path), "exec", dont_inherit=True, optimize=0)
    header = importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source)
    cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
    return str(cached), header + marshal.dumps(code)


if __name__ == "__main__":
    import c7n_ingress.lambda_entry  # noqa: F401 - what it loads is what is compiled

    loaded = [module.__spec__ for name, module in sorted(sys.modules.items()) if name.partition(".")[0] in SHIPPED]
    sys.stdout.buffer.write(marshal.dumps(dict(compiled(spec) for spec in loaded if spec and spec.has_location)))
