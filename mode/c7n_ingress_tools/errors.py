"""What the commands raise."""

from click import ClickException


class CommandError(ClickException):
    """A command cannot run. The message is one line with the fix."""
