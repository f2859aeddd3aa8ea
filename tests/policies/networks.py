"""Wide networks, for the patterns that read as text what `decide` reads as numbers."""

from ipaddress import ip_network


def networks(whole, longest):
    """Return every network in a whole one, up to a length of prefix."""
    return [str(each) for length in range(longest + 1) for each in ip_network(whole).subnets(new_prefix=length)]


WIDE = [
    *networks("0.0.0.0/0", 8),
    *(text for text in networks("::/0", 12) if text.startswith(("f", ":"))),  # those that are never open begin with f
    *("fc00::/15", "fe::/15", "fe80::/15", "fe80::/16", "fec0::/15", "ff00::/15"),
]
