"""The names by which the pack's parts find each other in an account."""

POLICIES = "custodian-open-ingress"
MAILER = "custodian-mailer"


def is_policys(name: str) -> bool:
    """Tell whether a function, and so its rule, is one of the pack's policies, of whatever version."""
    return name == POLICIES or name.startswith(f"{POLICIES}-")
