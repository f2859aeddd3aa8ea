"""`c7n-ingress init DIR`: lay the pack into a folder, or bring one up to date."""

from __future__ import annotations

import argparse
import sys
from importlib import metadata
from pathlib import Path

from c7n_ingress_tools.init import KitError, Laid, difference, lay


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says.

    :returns: the exit code: 0 if the folder is as this version ships it, but for what somebody edited; 1 if a file that
        somebody edited has changed in this version too, and is theirs to bring together; 2 if nothing could be done.
    """
    options = _parser().parse_args(arguments)
    version = metadata.version("c7n-ingress")
    try:
        laid = lay(options.folder, version)
        _show(options.folder, version, laid)
    except (KitError, OSError) as error:
        print(f"c7n-ingress init: {error}", file=sys.stderr)  # noqa: T201 - printing is what a command is for
        return 2
    return 1 if laid.behind else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "c7n-ingress", description="Lay the policies, the stack and the mailer of c7n-ingress into a folder."
    )
    parser.add_argument("--version", action="version", version=f"c7n-ingress {metadata.version('c7n-ingress')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser(
        "init",
        help="lay the pack into a folder; what somebody edited there stays as it is, and is shown",
        description="Lay the pack into a folder, or bring one up to date. What somebody edited is left as it is.",
    )
    init.add_argument("folder", type=Path, metavar="DIR", help="the folder; made if it is not there")
    return parser


def _show(folder: Path, version: str, laid: Laid) -> None:
    """Print what was done, and of each file that was edited what differs."""
    counts = {
        "written": laid.written,
        "updated": laid.updated,
        "as shipped": laid.same,
        "edited and left": laid.edited,
        "taken away and left so": laid.removed,
    }
    told = ", ".join(f"{len(names)} {what}" for what, names in counts.items() if names)
    print(f"{folder}: c7n-ingress {version}: {told}")  # noqa: T201
    for name in laid.edited:
        print(difference(folder, name, version), end="")  # noqa: T201
    for name in laid.removed:
        print(f"{folder / name}: taken away by somebody; not laid again")  # noqa: T201
    for name in laid.dropped:
        print(f"{folder / name}: no longer part of the pack; left")  # noqa: T201
    for name in laid.behind:
        print(f"{folder / name}: edited, and changed in {version}: bring in what is marked +")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
