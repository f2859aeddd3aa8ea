"""What the commands raise, and how they show what the system or AWS refused."""

from click import ClickException


class CommandError(ClickException):
    """A command cannot run. The message is one line with the fix."""


def in_one_line(error: Exception) -> str:
    """Return what the system or AWS refused, as one line; an empty text for any other error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

    if isinstance(error, NoCredentialsError):
        return "no AWS credentials found: set AWS_PROFILE, or run `aws configure`"
    if isinstance(error, EndpointConnectionError):
        return f"{error}: is it the right region, and does the network reach it?"
    return " ".join(str(error).split()) if isinstance(error, BotoCoreError | ClientError) else ""
