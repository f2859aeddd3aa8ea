"""Leave out work when a process starts: Lambda starts a new one for nearly every event.

Each part says what it leaves out, and ``tests/bench/README.md`` what that saves. None is necessary: if one does not
work with a changed botocore or dateutil, a warning is logged, and c7n starts as it does without.
"""

from __future__ import annotations

import gzip
import json
import logging
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.loaders import JSONFileLoader, Loader
from botocore.session import Session, get_session
from dateutil import zoneinfo

log = logging.getLogger("custodian.lambda")

BLOCK = 512
"""The size of a tar file's blocks. The first of a member is its header, which begins with the member's name:
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""
SIZE, TYPE = slice(124, 135), slice(156, 157)
"""Where a header has the member's size, in octal digits, and its type."""
FILES = b"0", b"1", b"2"
"""The types that are files: plain ones, and links of both kinds."""


@contextmanager
def zones_unread() -> Iterator[None]:
    """Let c7n find the names of dateutil's time zones in this block, without the zones.

    c7n's ``filters/offhours.py`` asks for the names when it is imported; dateutil reads 600 zones to list them.
    """
    get = zoneinfo.get_zonefile_instance
    try:
        archive = pkgutil.get_data("dateutil.zoneinfo", zoneinfo.ZONEFILENAME)
        names = dict.fromkeys(names_in(gzip.decompress(archive or b"")))
        del names[zoneinfo.METADATA_FN]
        get._cached_instance = SimpleNamespace(zones=names)
    except Exception:  # dateutil and botocore may change
        log.warning("time zones are read as a whole", exc_info=True)
        yield
        return
    try:
        yield
    finally:
        del get._cached_instance


def names_in(tar: bytes) -> Iterator[str]:
    """Return the names of the files in a tar file."""
    at = 0
    while (header := tar[at : at + BLOCK]).strip(b"\0"):
        if header[TYPE] in FILES:
            yield header.partition(b"\0")[0].decode()
        at += BLOCK * (1 + -(-int(header[SIZE], 8) // BLOCK))


def models_read_faster() -> Session:
    """Return a session of botocore's that reads the models of services in half the time, and has read EC2's."""
    session = get_session()
    try:
        loader = FasterLoader(session.get_component("data_loader"))
        loader.load_service_model("ec2", "service-2", api_version=None)  # as botocore asks for it, which is kept
        session.register_component("data_loader", loader)
    except Exception:  # dateutil and botocore may change
        log.warning("models are read as botocore reads them", exc_info=True)
    return session


class FasterLoader(Loader):
    """Reads the models that another loader would, and does not look through those of 400 other services before."""

    def __init__(self, other: Loader) -> None:
        super().__init__(list(other.search_paths), FasterFiles(), include_default_search_paths=False)

    def list_available_services(self, type_name: str) -> list[str]:
        """Return the services that may have a model of a type: botocore checks whether one is among them."""
        return sorted({each.name for path in map(Path, self.search_paths) if path.is_dir() for each in path.iterdir()})


class FasterFiles(JSONFileLoader):
    """Reads botocore's JSON files into plain dicts, which keep their order as well as its ``OrderedDict``."""

    def load_file(self, file_path: str) -> Any:
        """Return the content of a file, or None if there is none; botocore names it without its ending."""
        plain, packed = Path(f"{file_path}.json"), Path(f"{file_path}.json.gz")
        if plain.is_file():
            return json.loads(plain.read_bytes())
        return json.loads(gzip.decompress(packed.read_bytes())) if packed.is_file() else None
