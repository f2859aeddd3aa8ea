"""The user's settings file, as the commands read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c7n.utils import yaml_load

from c7n_ingress.aws.settings import refuse_twice
from c7n_ingress.decide.settings import KEYS, check
from c7n_ingress_tools.errors import CommandError

SETTINGS = "settings.yml"
"""The file's name, in the pack and in the folder of its user."""


def read(path: Path | None, default: Path | None = None, *, complete: bool = False) -> dict[str, Any]:
    """Return the settings: of the file that is named, of settings.yml in this folder, of the default, or none.

    A file of this name in this folder may belong to another tool. It has none of the settings' keys, and is not read.

    :param complete: whether a setting that every policy needs may not be missing.
    :raises CommandError: no run can use them.
    """
    if path is None:
        here = Path(SETTINGS)
        found = load(here) if here.exists() else None
        path = here if isinstance(found, dict) and not found.keys().isdisjoint(KEYS) else default
    if path is None:
        return {}
    found = load(path)
    try:
        refuse_twice(path.read_bytes())
        check(found, complete=complete)
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error
    return dict(found)


def load(path: Path) -> Any:
    """Return what a YAML file has, in UTF-8 or UTF-16, as c7n and c7n-org read it.

    :raises CommandError: it cannot be read, or is not YAML.
    """
    try:
        return yaml_load(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except Exception as error:  # any error of the YAML parser
        raise CommandError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
