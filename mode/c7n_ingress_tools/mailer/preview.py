"""Show the sample messages as people get them: `c7n-ingress mailer preview [FILE]`.

Without a file it prints the plain texts. An `.html` file gets the mails. For a `.png`, Chromium draws the first mail
wide in light and narrow in dark. Chromium is Debian's package `chromium`; the variable CHROMIUM names another.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from c7n_ingress_tools.extras import requires_extra

with requires_extra("mailer"):
    from c7n_ingress_tools.mailer import mail, pagerduty, slack, sns
    from c7n_ingress_tools.mailer.channel import Channel, shown_by
    from c7n_ingress_tools.mailer.facts import Facts

HERE = Path(__file__).parent
SAMPLES = ("sample", "sample-exempt", "sample-watch")

RENDERED: dict[str, tuple[type[Channel], Callable[[Facts], Any]]] = {
    "sns": (sns.Topics, sns.text),
    "mail": (mail.Mail, mail.page),
    "slack": (slack.Slack, slack.payload),
    "pagerduty": (pagerduty.PagerDuty, pagerduty.events),
}
"""The channels, and what renders a message for each."""

# The two frames are in one page because a frame takes its light or dark from the style of its element.
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 24px; background: #c9d2de; display: flex; gap: 24px; align-items: flex-start; }}
iframe {{ border: 0; border-radius: 14px; height: 1040px; }}
</style>
<iframe scrolling="no" style="width: 700px; color-scheme: light" srcdoc="{mail}"></iframe>
<iframe scrolling="no" style="width: 390px; color-scheme: dark" srcdoc="{mail}"></iframe>
"""
PICTURE_SIZE = "1162,1088"
MOST_SECONDS = 60


class NoPictureError(Exception):
    """There is no picture; the message has the fix."""


def texts() -> str:
    """Return the sample messages as plain text."""
    return "\n".join(render(sample(name)) for name in SAMPLES)


def mails() -> str:
    """Return the sample messages as mails, in one page."""
    return "\n".join(render(sample(name), "mail") for name in SAMPLES)


def mail_page() -> str:
    """Return the page of the picture: the first sample as mail, on a desk in light and on a phone in dark."""
    return PAGE.format(mail=html.escape(render(sample(), "mail")))


def sample(name: str = "sample") -> dict[str, Any]:
    """Return a sample message, as a policy's action sends it."""
    read: dict[str, Any] = yaml.safe_load((HERE / f"{name}.yml").read_text(encoding="utf-8"))
    return read


def render(message: Mapping[str, Any], channel: str = "sns") -> str:
    """Render a message for a channel: text, HTML or JSON."""
    kind, function = RENDERED[channel]
    made = function(shown_by(kind, message, message["resources"]))
    return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False, indent=1)


def photograph(page: str, picture: Path) -> None:
    """Draw a page into a PNG, by headless Chromium.

    :raises NoPictureError: Chromium is missing, or took no picture in time.
    """
    chromium = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if chromium is None:
        raise NoPictureError("no Chromium found: install it, or name it: CHROMIUM=/path/to/chrome")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",  # containers and root have none; the page is ours and fetches nothing
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
        f"--window-size={PICTURE_SIZE}",
        f"--screenshot={picture.absolute()}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "page.html")
        source.write_text(page, encoding="utf-8")
        command += [f"--user-data-dir={folder}/profile", source.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise NoPictureError(f"{chromium} took no picture in {MOST_SECONDS} seconds") from error
    if done.returncode or not picture.is_file():
        raise NoPictureError(f"{chromium} took no picture:\n{done.stderr}")
