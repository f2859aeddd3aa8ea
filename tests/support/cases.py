"""The cases of the tests, which are data, read without Cloud Custodian and moto: those take seconds to load."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def cases(name):
    """Read tests/cases/<name>.yml."""
    text = (ROOT / "tests" / "cases" / f"{name}.yml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.CSafeLoader)
