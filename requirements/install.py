"""Install what a lock names, and the project, into .venv: `python3 requirements/install.py local`.

By uv where it is there, as it takes a second, and by pip where it is not or does not succeed. Either way nothing but
wheels is installed, each with a hash that the lock has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
INTO = ROOT / ".venv" / "bin" / "python"
COMPILED = {"dev"}  # many short processes, also where the environment says that none may write bytecode


def main(name: str) -> None:
    """Install the lock of a name. Ends with pip's exit code if pip fails."""
    if uv := shutil.which("uv"):
        ours = ["--quiet", "--python", str(INTO), "--compile-bytecode" if name in COMPILED else "--no-compile-bytecode"]
        if install([uv, "pip", "install", *ours], name, os.environ | of_pip()) == 0:
            return
        print("uv could not install it, as it says above: now pip tries", file=sys.stderr)
    ours = ["--quiet", "--disable-pip-version-check", *([] if name in COMPILED else ["--no-compile"])]
    sys.exit(install([*pip(), "install", *ours], name, os.environ))


def install(command: list[str], name: str, environment: dict[str, str]) -> int:
    """Install a lock, then the project itself by the build backend that the lock has; give the exit code."""
    lock = [
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--requirement",
        str(ROOT / f"requirements/{name}.lock"),
    ]
    project = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    return run([*command, *lock], environment) or run([*command, *project], environment)


def pip() -> list[str]:
    """Give the command that is pip for .venv: this Python's own, if it can, as a second one takes seconds to make."""
    of_this = [sys.executable, "-m", "pip", "--python", str(INTO)]
    of_venv = [str(INTO), "-m", "pip"]
    for command in (of_this, of_venv):
        if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
            return command
    subprocess.run([INTO, "-m", "ensurepip"], stdout=subprocess.DEVNULL, check=True)
    return of_venv


def of_pip() -> dict[str, str]:
    """Give, as uv's variables, where pip looks for packages: uv does not read pip's settings.

    https://docs.astral.sh/uv/pip/compatibility/#configuration-files-and-environment-variables
    What uv is told itself goes before.
    """
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    said = {}
    for place in ("global", "install", ":env:"):  # the later goes before
        said |= dict(re.findall(rf"^{place}\.(\S+)='(.*)'$", done.stdout.replace(":env:..", ":env:."), re.MULTILINE))
    names = {"UV_DEFAULT_INDEX": "index-url", "SSL_CERT_FILE": "cert"}
    own = {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & os.environ.keys()
    return {
        name: said[of]
        for name, of in names.items()
        if of in said and name not in os.environ and not (own and "INDEX" in name)
    }


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command, whose output is seen; give its exit code."""
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    main(*sys.argv[1:])
