"""Render the templates, which hold text and HTML only, from facts."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from c7n_ingress_tools.mailer.facts import Facts

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=select_autoescape(enabled_extensions=("html.j2",)),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def rendered(template: str, facts: Facts) -> str:
    """Render a template."""
    return ENVIRONMENT.get_template(template).render(facts=facts)
