"""README.md, as its reader has it: the blocks, the commands in their order, groups to try them on."""

import re

from tests.support.embedded import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.partition("  #")[0].strip()
    for language, text in BLOCKS
    if language == "sh"
    for line in text.replace("\\\n", " ").splitlines()
    if not line.startswith("#")
]
GROUPS = [
    {"name": "web", "ingress": [{"protocol": "tcp", "ports": 443, "source": "0.0.0.0/0", "description": "site"}]},
    {"name": "bastion", "ingress": [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}]},
]


OWN = {"203.0.113.0/24": "198.18.7.0/24", "2001:db8:7::/64": "2001:2:0:7::/64"}
"""What a reader writes for README's networks, which a run refuses."""


def with_own_networks(text):
    """Write a reader's own networks where README has examples."""
    for example, network in OWN.items():
        assert example in README
        text = text.replace(example, network)
    return text


def put_networks_in(folder):
    """Put a reader's networks and the ports of README's block into every policy of a folder, as README says."""
    (wanted,) = [text for language, text in BLOCKS if language == "yaml" and text.startswith("vars:")]
    authorized = with_own_networks(wanted[wanted.index("  authorized:") : wanted.index("  public-ports:")])
    (ports,) = re.findall(r"&public-ports \[.*\]", wanted)
    for path in (folder / "policies").glob("*.yml"):
        text = re.sub(r"  authorized: &authorized\n(    - .*\n)+", authorized, path.read_text())
        path.write_text(text.replace("&public-ports []", ports))
