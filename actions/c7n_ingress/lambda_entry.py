"""The deployed policies' Lambda entry: Cloud Custodian's own, with this package's actions loaded first.

A Lambda has no site-packages, so nothing runs the line that loads the actions elsewhere. A policy names this entry:

.. code-block:: yaml

    mode:
      type: config-rule
      role: custodian-open-ingress
      handler: c7n_ingress.lambda_entry.run
      packages: [c7n_ingress]
"""

from __future__ import annotations

from typing import Any

from c7n.handler import dispatch_event

import c7n_ingress.open_prefix_list
import c7n_ingress.replace
import c7n_ingress.restore  # noqa: F401 - importing them registers filter and actions


def run(event: dict[str, Any], context: object) -> bool | None:
    """Run the policies of ``config.json`` on an event, as :func:`c7n.handler.dispatch_event` does."""
    return dispatch_event(event, context)  # type: ignore[no-any-return]
