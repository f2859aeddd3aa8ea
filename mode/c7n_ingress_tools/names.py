"""The names by which the pack's parts find each other in an account."""

POLICIES = "custodian-open-ingress"
MAILER = "custodian-mailer"
VERSION_TAG = "c7n-ingress-version"
"""The tag with the version of the mailer's function: its code may hold secrets, so nothing reads it."""


def is_policy(name: str) -> bool:
    """Whether a function, and so its rule, belongs to one of the pack's policies, of any version."""
    return name == POLICIES or name.startswith(f"{POLICIES}-")
