"""Install what a lock names, and the project, into .venv: `python3 requirements/install.py local`.

The lock of a judge, such as `judges/prowler`, goes into an environment of its own, .venv/judges/prowler, without the
project.

The environment is made first if its Python does not run. uv installs, because it takes a second where pip takes ten:
the user's own, or the one that the lock names, which pip installs before. Where uv does not succeed, pip installs all.
Either way nothing but wheels is installed, each with a hash that the lock has. It runs on any Python that the pack
does, and says so on any other.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKED = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement"]
OF_PIP = ["--quiet", "--disable-pip-version-check"]
PROJECT = ["--no-deps", "--no-build-isolation", "--editable", "."]  # by the build backend that the lock has

OWN_UV = ROOT / ".venv" / "bin"

# Where bytecode is made at once: tests start many short processes, also where the environment lets none write it.
COMPILED = {"dev", "judges/ministack", "judges/prowler"}


def main(name: str) -> None:
    """Install the lock of a name. Ends with pip's exit code if pip fails."""
    into = f".venv/{name}" if is_judge(name) else ".venv"
    python = f"{into}/bin/python"
    made = version_of(python)
    refuse_unsupported(made or version_of(sys.executable), f"remove {into}, then " if made else "")
    if not made:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", into], cwd=ROOT, check=True)
    if uv := shutil.which("uv") or shutil.which("uv", path=OWN_UV) or uv_of(name, python):
        options = ["--quiet", "--python", python, *(["--compile-bytecode"] if name in COMPILED else [])]
        if installed([uv, "pip", "install", *options], name, os.environ | of_pip()) == 0:
            return
        print("uv could not install it, as it says above: now pip tries", file=sys.stderr)
    options = [*OF_PIP, *([] if name in COMPILED else ["--no-compile"])]
    sys.exit(installed([*pip(python), "install", *options], name, os.environ))


def is_judge(name: str) -> bool:
    """Whether a lock is that of a judge."""
    return name.startswith("judges/")


def version_of(python: str) -> tuple[int, ...]:
    """Return the version of a Python, as (3, 13), or nothing where it does not run."""
    command = [python, "-S", "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ()
    return tuple(map(int, said.split()))


def refuse_unsupported(version: tuple[int, ...], before: str) -> None:
    """End with the fix if the project does not support this version."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest, too_new = map(int, re.findall(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', project, re.MULTILINE)[0])
    if not (3, oldest) <= version < (3, too_new):
        found, newest = ".".join(map(str, version)), too_new - 1
        sys.exit(f"Python {found} is not 3.{oldest} to 3.{newest}: {before}name another one, as PYTHON=python3.13 does")


def installed(command: list[str], name: str, environment: dict[str, str]) -> int:
    """Install a lock, then the project, by a command that takes pip's options; return the exit code."""
    lock = [*LOCKED, f"requirements/{name}.lock"]
    project = [] if is_judge(name) else [PROJECT]
    return next(filter(None, (run([*command, *each], environment) for each in (lock, *project))), 0)


def uv_of(name: str, python: str) -> str | None:
    """Make pip install the uv that a lock names, and return its path, or nothing if the lock or pip has none."""
    lock = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    if entry := re.search(r"^uv==.*(\n .*)*", lock, re.MULTILINE):
        command = [*pip(python), "install", *OF_PIP, *LOCKED, "/dev/stdin"]
        subprocess.run(command, cwd=ROOT, input=entry[0], text=True, check=False)
    return shutil.which("uv", path=OWN_UV)


def pip(python: str) -> list[str]:
    """Return the command that is pip for a Python: this one's own, if it can, as a second one takes seconds to make."""
    of_venv = [python, "-m", "pip"]
    with suppress(metadata.PackageNotFoundError):
        if [int(part) for part in metadata.version("pip").split(".")[:2]] >= [22, 3]:  # the first that has --python
            return [sys.executable, "-m", "pip", "--python", python]
    if subprocess.run([*of_venv, "--version"], cwd=ROOT, capture_output=True, check=False).returncode:
        subprocess.run([python, "-m", "ensurepip"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return of_venv


def of_pip() -> dict[str, str]:
    """Return pip's index and certificate as uv's variables, because uv does not read pip's settings.

    https://docs.astral.sh/uv/pip/compatibility/#configuration-files-and-environment-variables
    uv's own settings come first.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings: dict[str, str] = {}
    for place in ("global", "install", ":env:"):  # the last one wins
        settings |= dict(re.findall(rf"^{place}\.(\S+)='(.*)'$", listed, re.MULTILINE))
    found = {"UV_DEFAULT_INDEX": settings.get("index-url"), "SSL_CERT_FILE": settings.get("cert")}
    if {"UV_INDEX_URL", "UV_CONFIG_FILE"} & os.environ.keys():
        del found["UV_DEFAULT_INDEX"]
    return {name: value for name, value in found.items() if value and name not in os.environ}


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command in the project, whose output is seen; return its exit code."""
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    main(*sys.argv[1:])
