"""Load this package's actions into the stock ``custodian`` and ``c7n-org`` commands.

Cloud Custodian has no plugin loading of its own. Whenever a Python interpreter starts, it calls ``install``: by the
line in ``c7n_ingress.pth``, or from Python 3.15 by the one in ``c7n_ingress.start`` (https://peps.python.org/pep-0829/).
So this module imports nothing but ``sys``: an interpreter that never loads Cloud Custodian pays next to nothing. Once
``c7n.resources.vpc`` has been loaded, the actions register themselves with its security groups. Once
``c7n.resources.account`` has been, ``notify-in-parts`` registers itself with the account, for the watch. Once
``c7n.mu`` has been, which deploys, the zips of policies that ship this package carry bytecode.
"""

from __future__ import annotations

import sys

SUPPORTED = "0.9.53", "0.10"
"""The oldest supported c7n, and the oldest that is too new: what `pyproject.toml` names."""


class After:
    """A finder that finds nothing itself: it calls a function right after a module has been loaded."""

    def __init__(self, name, then):  # type: ignore[no-untyped-def]
        self.name = name
        self.then = then
        self.asking = False

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Return the spec that the other finders find for the module, and None for every other module."""
        if name != self.name or self.asking:
            return None
        self.asking = True
        try:
            spec = next((s for f in sys.meta_path if (s := f.find_spec(name, path, target))), None)
        finally:
            self.asking = False
        if spec is None or spec.loader is None:
            return spec
        exec_module = spec.loader.exec_module

        def exec_and_then(module):  # type: ignore[no-untyped-def]
            exec_module(module)
            self.then()

        spec.loader.exec_module = exec_and_then  # type: ignore[method-assign]
        return spec


def register() -> None:
    """Register the pack's actions and filters."""
    refuse_unsupported()
    import c7n_ingress.registered  # noqa: F401 - it registers them


def register_for_accounts() -> None:
    """Register what the watch needs."""
    refuse_unsupported()
    import c7n_ingress.watch  # noqa: F401 - it registers it


def ship_bytecode() -> None:
    """Put bytecode into the zips of deployed policies."""
    from c7n_ingress import bytecode

    bytecode.install()


def refuse_unsupported() -> None:
    """End the command in one line if this c7n is not one that the pack was tested with."""
    from c7n.version import version

    oldest, too_new = SUPPORTED
    if not figures(oldest) <= figures(version) < figures(too_new):
        fix = f"pip install 'c7n>={oldest},<{too_new}', or a newer c7n-ingress"
        raise SystemExit(f"c7n-ingress does not work with c7n {version}: {fix}")


def figures(version: str) -> tuple[int, ...]:
    """Return a version's leading figures: (0, 9, 53) for 0.9.53 and for 0.9.53.dev1."""
    import re

    return tuple(int(figure) for figure in re.match(r"\d*(\.\d+)*", version)[0].split(".") if figure)  # type: ignore[index]


def install() -> None:
    """Set the import hook, if it is not set and its modules are not loaded."""
    hooked = [finder.name for finder in sys.meta_path if isinstance(finder, After)]
    for loaded, then in {
        "c7n.resources.vpc": register,
        "c7n.resources.account": register_for_accounts,
        "c7n.mu": ship_bytecode,
    }.items():
        if loaded not in (*hooked, *sys.modules):
            sys.meta_path.insert(0, After(loaded, then))  # type: ignore[no-untyped-call]
