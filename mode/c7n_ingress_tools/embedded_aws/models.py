"""One reader of AWS's models for all of a process: every session of botocore reads and parses each of them again.

EC2's alone takes a tenth of a second, and the list of endpoints as long. `SERVICE_MODELS` in `server` does
the same for its own sessions; this is for those that moto, Custodian and c7n-mailer make.
"""

from functools import cache

import botocore.session


def share() -> None:
    """Make all sessions that start from now on share what they read; with another botocore, each reads for itself."""
    make = getattr(botocore.session, "create_loader", None)
    if make is not None:
        botocore.session.create_loader = cache(make)
