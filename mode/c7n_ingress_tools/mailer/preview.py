"""Show the sample messages as people get them: `c7n-ingress mailer preview [PICTURE.png]`.

Without an argument it prints the plain texts; with one it has Chromium take the README's picture: the mail on a desk in
light, on a phone in dark. Chromium is Debian's package `chromium`; the environment variable CHROMIUM names another.
"""

import html
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from c7n_ingress_tools.extras import of_extra

with of_extra("mailer"):
    from c7n_mailer.utils import get_rendered_jinja

    import c7n_ingress_tools.mailer.lambda_entry  # noqa: F401  adds the filters that the templates need

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"

# The two frames stand in one page because a frame takes its light or dark from the style of its element.
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 28px; background: #c9d2de; display: flex; gap: 28px; align-items: flex-start; }}
iframe {{ border: 0; border-radius: 14px; height: 1000px; }}
</style>
<iframe scrolling="no" style="width: 720px; color-scheme: light" srcdoc="{mail}"></iframe>
<iframe scrolling="no" style="width: 390px; color-scheme: dark" srcdoc="{mail}"></iframe>
"""
PICTURE_SIZE = "1194,1056"


class NoPictureError(Exception):
    """There is no picture; the message has the fix."""


def texts() -> str:
    """Return the sample messages as plain text."""
    return "".join(
        f"{render(message, message['action']['template'])}\n" for message in (sample(), sample("sample-exempt"))
    )


def mail_page() -> str:
    """Return the page of the picture: the first sample as mail, on a desk in light and on a phone in dark."""
    return PAGE.format(mail=html.escape(render(sample(), "open-ingress.html")))


def sample(name: str = "sample") -> dict:
    """Give a sample message, as a policy's action would send it."""
    return yaml.safe_load((HERE / f"{name}.yml").read_text(encoding="utf-8"))


def render(message: dict, template: str) -> str:
    """Have c7n-mailer render a message with one of the templates."""
    sent = message | {"action": message.get("action", {}) | {"template": template}}
    return get_rendered_jinja("preview", sent, message["resources"], logging.getLogger(), "template", "", [TEMPLATES])


def photograph(page: str, picture: Path) -> None:
    """Draw a page into a PNG, by headless Chromium.

    :raises NoPictureError: Chromium is missing, or took no picture.
    """
    chromium = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if chromium is None:
        raise NoPictureError("no Chromium found: install it, or name it: CHROMIUM=/path/to/chrome")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "page.html")
        source.write_text(page, encoding="utf-8")
        done = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",  # containers and root have none; the page is ours and fetches nothing
                "--disable-gpu",
                "--disable-background-networking",
                "--hide-scrollbars",
                f"--user-data-dir={folder}/profile",
                f"--window-size={PICTURE_SIZE}",
                f"--screenshot={picture.absolute()}",
                source.as_uri(),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode or not picture.is_file():
        raise NoPictureError(f"{chromium} took no picture:\n{done.stderr}")
