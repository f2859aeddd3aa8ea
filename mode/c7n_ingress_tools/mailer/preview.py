"""Show the sample messages as people get them: `c7n-ingress mailer preview [FILE.html]`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from c7n_ingress_tools.extras import requires_extra

with requires_extra("mailer"):
    from c7n_ingress_tools.mailer import mail, pagerduty, slack, sns
    from c7n_ingress_tools.mailer.channel import Channel
    from c7n_ingress_tools.mailer.facts import Facts
    from c7n_ingress_tools.mailer.render import page, text

SAMPLES = ("sample", "sample-exempt", "sample-watch")

RENDERED: dict[str, tuple[type[Channel], Callable[[Facts], Any]]] = {
    "sns": (sns.Topics, text),
    "mail": (mail.Mail, page),
    "slack": (slack.Slack, slack.payload),
    "pagerduty": (pagerduty.PagerDuty, pagerduty.events),
}
"""The channels, and what renders a message for each."""


def all_samples(channel: str = "sns") -> str:
    """Return the sample messages as a channel renders them."""
    return "\n".join(render(sample(name), channel) for name in SAMPLES)


def sample(name: str = "sample") -> dict[str, Any]:
    """Return a sample message, as a policy's action sends it."""
    read: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(f"{name}.yml").read_text(encoding="utf-8"))
    return read


def render(message: Mapping[str, Any], channel: str = "sns") -> str:
    """Render a message for a channel: text, HTML or JSON."""
    kind, function = RENDERED[channel]
    made = function(kind.facts_of(message, message["resources"]))
    return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False, indent=1)
