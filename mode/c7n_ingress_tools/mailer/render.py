"""Render a message as plain text and as HTML, by templates that hold nothing else."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from c7n_ingress_tools.mailer.facts import Facts

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=select_autoescape(enabled_extensions=("html.j2",)),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def text(facts: Facts) -> str:
    """Return a message as plain text."""
    return TEMPLATES.get_template("message.txt.j2").render(facts=facts)


def page(facts: Facts) -> str:
    """Return a message as HTML."""
    return TEMPLATES.get_template("message.html.j2").render(facts=facts)
