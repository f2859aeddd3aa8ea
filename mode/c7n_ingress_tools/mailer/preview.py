"""Show the sample messages as people get them: `c7n-ingress mailer preview [FILE.html]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from c7n_ingress_tools.extras import requires_extra

with requires_extra("mailer"):
    from c7n_ingress_tools.mailer.render import page, text
    from c7n_ingress_tools.mailer.sns import Topics

SAMPLES = ("sample", "sample-exempt", "sample-watch")


def all_samples(*, as_mails: bool = False) -> str:
    """Return the sample messages, as plain text or as HTML."""
    made = [Topics.facts_of(message, message["resources"]) for message in map(sample, SAMPLES)]
    return "\n".join(map(page if as_mails else text, made))


def sample(name: str = "sample") -> dict[str, Any]:
    """Return a sample message, as a policy's action sends it."""
    read: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(f"{name}.yml").read_text(encoding="utf-8"))
    return read
