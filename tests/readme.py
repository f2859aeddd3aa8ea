"""README.md, as its reader has it: the blocks, the commands in their order, groups to try them on."""

import re

from embedded import ROOT

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


def put_networks_in(folder):
    """Put the networks and ports of README's block into every policy of a folder, as README says."""
    (wanted,) = [text for language, text in BLOCKS if language == "yaml" and text.startswith("vars:")]
    authorized = wanted[wanted.index("  authorized:") : wanted.index("  public-ports:")]
    (ports,) = re.findall(r"&public-ports \[.*\]", wanted)
    for path in (folder / "policies").glob("*.yml"):
        text = re.sub(r"  authorized: &authorized\n(    - .*\n)+", authorized, path.read_text())
        path.write_text(text.replace("&public-ports []", ports))
