"""What the mailer raises."""


class UndeliverableError(Exception):
    """A message that cannot be delivered, or not to everybody. The text says why, and holds no secret."""
