"""One reader of AWS's models for a whole process. By default, each botocore session reads and parses them again.

EC2's model takes a quarter of a second, and so does the list of endpoints.
"""

from functools import cache

import botocore.session


def share() -> None:
    """Make all sessions that start from now on share what they read, if this botocore has the function for it."""
    make = getattr(botocore.session, "create_loader", None)
    if make is not None:
        botocore.session.create_loader = cache(make)
