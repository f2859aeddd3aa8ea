"""What the policies of ``mode/watch.yml`` need, which are about the account: importing this module registers it.

c7n generates the schema of a resource again for each filter ``missing``. The watch has forty, so that most of the time
to validate it, to deploy it and to start its functions was spent on schemas. A validator of c7n's keeps what it has
generated, so all these filters share one.
"""

from typing import Any

from c7n.filters import missing
from c7n.loader import PolicyLoader, SchemaValidator
from c7n.resources.account import Account

from c7n_ingress.actions.notify_in_parts import NotifyInParts

VALIDATOR = SchemaValidator()


def loader(options: Any) -> PolicyLoader:
    """Return a loader of policies with the validator that all of these filters share."""
    made = PolicyLoader(options)
    made.validator = VALIDATOR
    return made


missing.PolicyLoader = loader
Account.action_registry.register("notify-in-parts", NotifyInParts)
