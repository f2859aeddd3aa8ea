"""The names by which the pack's parts find each other in an account."""

POLICIES = "custodian-open-ingress"
MAILER = "custodian-mailer"
VERSION_TAG = "c7n-ingress-version"
"""The tag by which the mailer's function says of which version it is: its code may hold secrets, and is not read."""


def is_policy(name: str) -> bool:
    """Whether a function, and so its rule, belongs to one of the pack's policies, of any version."""
    return name == POLICIES or name.startswith(f"{POLICIES}-")
