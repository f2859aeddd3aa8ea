"""Write the pack's files into a folder: what is the pack's is replaced, what is the user's is written once."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.pack import PACK
from c7n_ingress_tools.settings import SETTINGS

PARTS = ("policies", "mode")
"""The folders that are written: what the documentation's commands name."""

USERS = frozenset({SETTINGS, "mode/accounts.yml", "mode/mailer.yml"})
"""The files that a user edits: written once, and never replaced."""

NOT_WRITTEN = {"__pycache__", "c7n_ingress_tools", "tests", "README.md"}


def write_pack(folder: Path, shipped: Path = PACK) -> dict[str, str]:
    """Write the pack's files into a folder, and return what was done with each: written, replaced or unchanged.

    :raises CommandError: a file is where a folder has to be or the other way round, a link leads out of the folder, or
        the system refuses to read or write a file.
    """
    names = shipped_names(shipped)
    done = {}
    try:
        _check(folder, names)
        for name in names:
            content, target = (shipped / name).read_bytes(), folder / name
            if target.exists() and (name in USERS or target.read_bytes() == content):
                done[name] = "unchanged"
                continue
            done[name] = "replaced" if target.exists() else "written"
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, content)
    except OSError as error:
        raise CommandError(f"{error.filename or folder}: {error.strerror}: fix that, and run this again") from error
    return done


def shipped_names(shipped: Path = PACK) -> list[str]:
    """Return the names of the files that are written, relative to the folder that has them."""
    of_parts = (path for part in PARTS for path in (shipped / part).rglob("*") if path.is_file())
    names = (path.relative_to(shipped) for path in (*of_parts, *shipped.glob(SETTINGS)))
    return sorted(name.as_posix() for name in names if not NOT_WRITTEN.intersection(name.parts))


def _check(folder: Path, names: list[str]) -> None:
    """Refuse before anything is written, if that would go elsewhere, or a file is where a folder has to be."""
    root = folder.resolve()
    for name in names:
        path = folder / name
        if path.is_symlink() or root not in path.resolve().parents:
            raise CommandError(f"{path} is a link, or behind one that leads out of {folder}: put the file itself there")
        if path.is_dir():
            raise CommandError(f"{path} is a folder, and has to be a file: choose another folder, or move it away")
        wrong = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
        if wrong:
            raise CommandError(f"{wrong} is a file, and has to be a folder: choose another folder, or move it away")


def _write(path: Path, content: bytes) -> None:
    """Write a file as a whole: a full disk leaves the old file, and not half of the new one.

    The new one has a name of its own: nothing is written through a link, or into what another `init` writes.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
