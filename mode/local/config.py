"""AWS Config as it really answers, where moto does not."""


def install() -> None:
    """Have moto serve this AWS Config."""
