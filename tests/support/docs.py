"""The documentation, as its reader has it: README.md and the pages in docs/, their blocks and their commands."""

import re
from typing import NamedTuple

from tests.support.embedded import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
"""The text of each page, by its path."""

README = PAGES["README.md"]
"""What people read first."""


class Block(NamedTuple):
    """A block of code."""

    page: str
    """The path of the page."""
    heading: str
    """The heading above the block, without its signs."""
    language: str
    text: str


def _blocks(page, text):
    """Return the blocks of one page, in order."""
    found, heading = [], ""
    for match in re.finditer(r"^#+ ([^\n]*)$|^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if match[2]:
            found.append(Block(page, heading, match[2], match[3]))
        else:
            heading = match[1]
    return found


BLOCKS = [block for page, text in PAGES.items() for block in _blocks(page, text)]
"""All blocks of all pages."""


def commands(text):
    """Return the commands of a block, each on one line."""
    lines = (line.partition("  #")[0].strip() for line in text.replace("\\\n", " ").splitlines())
    return [re.sub(r"  +", " ", line) for line in lines if line and not line.startswith("#")]


def commands_of(page):
    """Return all commands of a page, in order."""
    return [line for block in BLOCKS if (block.page, block.language) == (page, "sh") for line in commands(block.text)]


def blocks(page, heading):
    """Return the texts of a page's blocks of commands under a heading."""
    found = [block.text for block in BLOCKS if block[:3] == (page, heading, "sh")]
    assert found, (page, heading)
    return found


GROUPS = [
    {"name": "web", "ingress": [{"protocol": "tcp", "ports": 443, "source": "0.0.0.0/0", "description": "site"}]},
    {"name": "bastion", "ingress": [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}]},
]
"""Groups of a reader: a public site, and what should not be public."""

OWN = {"203.0.113.0/24": "198.18.7.0/24", "2001:db8:7::/64": "2001:2:0:7::/64"}
"""What a reader writes instead of the networks that the pages show, which a run refuses."""


def with_own_networks(text):
    """Write a reader's own networks instead of the examples."""
    for example, network in OWN.items():
        assert any(example in page for page in PAGES.values())
        text = text.replace(example, network)
    return text


def write_settings(folder):
    """Write the settings that docs/configure.md shows into a folder, with a reader's own networks."""
    (wanted,) = [block.text for block in BLOCKS if block[:3] == ("docs/configure.md", "settings.yml", "yaml")]
    (folder / "settings.yml").write_text(with_own_networks(wanted))
