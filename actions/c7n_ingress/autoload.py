"""Make the stock ``custodian`` and ``c7n-org`` commands know this package's actions.

Cloud Custodian has no plugin loading of its own. The line in ``c7n_ingress.pth`` imports this module whenever a Python
interpreter starts, so it imports nothing but ``sys``: an interpreter that never loads Cloud Custodian pays next to
nothing. Once ``c7n.resources.vpc`` has been loaded, the actions register themselves with its security groups.
"""

from __future__ import annotations

import sys

VPC = "c7n.resources.vpc"


class AfterVpc:
    """A finder that finds nothing itself: it sees to it that the actions are loaded right after c7n's VPC resources."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Give the spec that the other finders give for ``c7n.resources.vpc``, and leave every other module to them."""
        if name != VPC:
            return None
        sys.meta_path.remove(self)
        spec = next((s for f in sys.meta_path if (s := f.find_spec(name, path, target))), None)
        if spec is None or spec.loader is None:
            return spec
        exec_module = spec.loader.exec_module

        def exec_and_register(module):  # type: ignore[no-untyped-def]
            exec_module(module)
            import c7n_ingress.named  # noqa: PLC0415
            import c7n_ingress.open_ingress  # noqa: PLC0415
            import c7n_ingress.replace  # noqa: PLC0415
            import c7n_ingress.restore  # noqa: F401, PLC0415

        spec.loader.exec_module = exec_and_register  # type: ignore[method-assign]
        return spec


if VPC not in sys.modules:
    sys.meta_path.insert(0, AfterVpc())
