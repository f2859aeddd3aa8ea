"""Unpack the zips of functions once for all tests: each top folder is a link to a copy that is compiled once."""

import hashlib
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

from c7n_ingress_tools.functions.runtime import make_outputs


def unpack_once(shared, path, task):
    """Link each top folder of a zip to a copy that all zips with the same content in this folder share.

    A change to one function's code changes it for all.
    """
    with zipfile.ZipFile(path) as archive:
        link(archive, task, shared)
    make_outputs(task)


def link(archive, task, shared):
    """Link what is in an archive."""
    task.mkdir(parents=True, exist_ok=True)
    shared.mkdir(parents=True, exist_ok=True)
    tops = defaultdict(list)
    for entry in archive.infolist():
        tops[entry.filename.partition("/")[0] if "/" in entry.filename else ""].append(entry)
    archive.extractall(task, tops.pop("", []))
    for top, entries in tops.items():
        held = "\n".join(sorted(f"{entry.filename} {entry.CRC}" for entry in entries))
        there = shared / hashlib.sha256(held.encode()).hexdigest()
        if not there.exists():
            with tempfile.TemporaryDirectory(dir=shared) as own:
                archive.extractall(own, entries)
                put(Path(own, top), there)
        (task / top).unlink(missing_ok=True)  # a link to what an earlier zip held
        (task / top).symlink_to(there)


def put(folder, there):
    """Move a folder, unless another process has put the same folder there meanwhile."""
    try:
        folder.rename(there)
    except OSError:
        if not there.exists():
            raise
