"""Keep the schemas by which c7n validates the policies of its filter ``missing``: importing this module does it.

c7n generates the schema of a resource again for each of these filters. The watch has forty, so that most of the time
to validate it, to deploy it and to start its functions was spent on schemas.
"""

from typing import Any

from c7n.filters import missing
from c7n.loader import PolicyLoader, SchemaValidator

VALIDATOR = SchemaValidator()
"""A validator of c7n's keeps what it has generated."""


def loader(options: Any) -> PolicyLoader:
    """Return a loader of policies with the validator that all of these filters share."""
    made = PolicyLoader(options)
    made.validator = VALIDATOR
    return made


missing.PolicyLoader = loader
