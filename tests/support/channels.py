"""Messages as each channel renders them."""

import json

from c7n_ingress_tools.mailer import render as templates
from c7n_ingress_tools.mailer.mail import Mail
from c7n_ingress_tools.mailer.pagerduty import PagerDuty, events
from c7n_ingress_tools.mailer.slack import Slack, payload
from c7n_ingress_tools.mailer.sns import Topics

CHANNELS = {
    "sns": (Topics, templates.text),
    "mail": (Mail, templates.page),
    "slack": (Slack, payload),
    "pagerduty": (PagerDuty, events),
}
"""The channels, and what renders a message for each."""


def render(message, channel="sns"):
    """Render a message for a channel: text, HTML or JSON."""
    kind, function = CHANNELS[channel]
    made = function(kind.facts_of(message, message["resources"]))
    return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False, indent=1)
