"""Lay files into a folder, and never over what somebody edited there."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from c7n_ingress_tools.pack import PACK

PARTS = ("policies", "mode")
"""The folders that are laid: what README's commands name."""

NOTE = ".c7n-ingress.json"
"""What was laid when: ``{"version": …, "files": {name: sha256}, "laid": {name: sha256}}``.

``files`` has what the version ships, ``laid`` what was last written into the folder where an edit has kept the two from
being the same. They tell what was edited from what is old.
"""


class KitError(Exception):
    """The folder cannot be laid; nothing was changed."""


@dataclass
class Laid:
    """What was done, as names relative to the folder."""

    written: list[str] = field(default_factory=list)
    """Files that were not there."""
    updated: list[str] = field(default_factory=list)
    """Files that stood as an earlier version laid them."""
    same: list[str] = field(default_factory=list)
    """Files that stood there as this version ships them."""
    edited: list[str] = field(default_factory=list)
    """Files that somebody edited. They are left."""
    removed: list[str] = field(default_factory=list)
    """Files that were laid, and that somebody took away. They stay away: a policy is not to come back by itself."""
    behind: list[str] = field(default_factory=list)
    """Those among the edited that this version ships otherwise than the one that laid them."""
    dropped: list[str] = field(default_factory=list)
    """Files that an earlier version laid, and this one does not ship. They are left."""


def lay(folder: Path, version: str, shipped: Path = PACK) -> Laid:
    """Lay the pack's files into a folder, and note what was laid.

    :param folder: where to; made if it is not there.
    :param version: the pack's version, for the note.
    :param shipped: the folder that has the files.
    :raises KitError: a file stands where a folder is to be or the other way round, a link leads out of the folder, the
        note cannot be read, or the system refuses to read or write a file.
    """
    try:
        return _lay(folder, version, shipped)
    except OSError as error:
        raise KitError(f"{error.filename or folder}: {error.strerror}: mend that, and run this again") from error


def _lay(folder: Path, version: str, shipped: Path) -> Laid:
    before, last = _read_note(folder)
    laid, notes, kept = Laid(), {}, {}
    names = shipped_names(shipped)
    _check(folder, names)
    for name in names:
        content, target = (shipped / name).read_bytes(), folder / name
        ours, theirs = _hash(content), _hash(target.read_bytes()) if target.exists() else None
        notes[name] = ours
        if theirs == ours:
            laid.same.append(name)
        elif theirs is None and name in before:
            laid.removed.append(name)
            kept[name] = last.get(name, before[name])
        elif theirs in (None, before.get(name), last.get(name)):
            (laid.written if theirs is None else laid.updated).append(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, content)
        else:
            laid.edited.append(name)
            if was := last.get(name, before.get(name)):
                kept[name] = was
            if before.get(name) != ours:
                laid.behind.append(name)
    laid.dropped = [name for name in before if name not in notes and (folder / name).exists()]
    note = {"version": version, "files": notes, "laid": {name: was for name, was in kept.items() if was != notes[name]}}
    _write(folder / NOTE, json.dumps(note, indent=1, sort_keys=True).encode() + b"\n")
    return laid


def shipped_names(shipped: Path = PACK) -> list[str]:
    """Give the names of the files that are laid, relative to the folder that has them."""
    return sorted(
        path.relative_to(shipped).as_posix()
        for part in PARTS
        for path in (shipped / part).rglob("*")
        if path.is_file() and not {"__pycache__", "c7n_ingress_tools"}.intersection(path.parts)
    )


def difference(folder: Path, name: str, version: str, shipped: Path = PACK) -> str:
    """Give what leads from somebody's file to the shipped one, as a unified diff."""
    yours, ours = (
        (root / name).read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        for root in (folder, shipped)
    )
    lines = difflib.unified_diff(yours, ours, f"{folder / name}", f"c7n-ingress {version}: {name}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _check(folder: Path, names: list[str]) -> None:
    """Refuse before anything is written, if that would go elsewhere, or a file stands where a folder is to be."""
    root = folder.resolve()
    for name in (*names, NOTE):
        path = folder / name
        if path.is_symlink() or root not in path.resolve().parents:
            raise KitError(f"{path} is a link, or behind one that leads out of {folder}: put the file itself there")
        if path.is_dir():
            raise KitError(f"{path} is a folder, and is to be a file: choose another folder, or move it away")
        wrong = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
        if wrong:
            raise KitError(f"{wrong} is a file, and is to be a folder: choose another folder, or move it away")


def _read_note(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Give the hashes of the files as they were shipped, and as laid if otherwise; none, where nothing was laid yet."""
    path = folder / NOTE
    if not path.exists():
        return {}, {}
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return _inside(note["files"]), _inside(note.get("laid", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KitError(f"{path} is not what this command wrote: delete it, and edited files are found anew") from error


def _inside(hashes: dict[str, str]) -> dict[str, str]:
    """Leave out names that lead out of the folder: this command writes none, and looks for none."""
    return {
        str(name): str(value)
        for name, value in hashes.items()
        if not PurePath(name).is_absolute() and ".." not in PurePath(name).parts
    }


def _write(path: Path, content: bytes) -> None:
    """Write a file as a whole: half a file, as a full disk leaves it, would be taken for an edited one."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
