"""Which networks may be authorized, and what the words of the list mean."""

import pytest

from c7n_ingress.decide.authorized import (
    MOST_NETWORKS,
    blocked_inside,
    documentation,
    missing_versions,
    of_prefix_list,
    parse_fixed,
    parse_list,
    refuse_documentation,
    resolved,
    words,
)
from c7n_ingress.decide.rules import network
from tests.support.cases import cases

REFUSED = {
    str(case["action"]["authorized"]): case
    for case in cases("refusals")["refused"]
    if case.get("action", {}).keys() == {"type", "authorized"}
}
OFFICE, VPN = "198.18.7.0/24", "198.18.8.0/24"
BLOCKED = (
    "neither 'vpc' nor a private network is authorized: clients and load balancers inside the VPC that come in through "
    "an open rule only will be blocked"
)
EXAMPLE = "203.0.113.0/24 is an example from the documentation, nobody's network: authorize your own"


@pytest.mark.parametrize("case", REFUSED.values(), ids=[case["name"] for case in REFUSED.values()])
def test_a_bad_list(case):
    """A list is refused with the value and the fix."""
    with pytest.raises(ValueError, match=r".") as refused:
        refuse_documentation(parse_fixed(case["action"]["authorized"]))
    assert case["says"] in str(refused.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("198.18.7.0/24", "'198.18.7.0/24' is not a list of CIDRs"),
        (None, "None is not a list of CIDRs"),
        (["198.18.7.0/24", 7], "7 is not a CIDR: write text such as '10.0.0.0/8'"),
        (["{office}"], "'{office}' was not filled: add --vars-file settings.yml, or name a list in c7n-org's vars"),
        (
            ["fe80::%eth0/64"],
            "'fe80::%eth0/64' is not a CIDR: EC2 knows no interface after '%'; write the network without it",
        ),
        (
            ["x" * 200],
            f"'{'x' * 79} is not a CIDR: write an address, a slash and a prefix length, such as '10.0.0.0/8'",
        ),
        (["0.0.0.0/0"], "'0.0.0.0/0' is itself open to the internet: IPv4 networks may be /8 at most"),
        (["2000::/3"], "'2000::/3' is itself open to the internet: IPv6 networks may be /16 at most"),
        (
            ["127.0.0.0/8"],
            "'127.0.0.0/8' is loopback, and nobody comes from there: authorize a network of yours, such as your VPN's",
        ),
        (
            ["11.0.0.0/8", "12.0.0.0/8"],
            "2 networks that are open to the internet together, such as 11.0.0.0/8: authorize no more public addresses",
        ),
        (
            [f"10.{n >> 8}.{n & 255}.0/24" for n in range(MOST_NETWORKS + 1)],
            "1001 networks, more than a security group can hold rules: 1000",
        ),
        ([], "no network is authorized: name at least one CIDR, such as the one of your office or VPN"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_refusal_says(values, says):
    """A refusal has the beginning of the value and the fix."""
    with pytest.raises(ValueError, match=r".") as refused:
        parse_list(values)
    assert str(refused.value).startswith(says)


def test_a_good_list():
    """Networks are in the order of the list, each once, without empty lines; as many as a group can hold."""
    assert parse_list([VPN, "", OFFICE, VPN]) == [network(VPN), network(OFFICE)]
    assert parse_list({OFFICE}) == [network(OFFICE)]
    assert len(parse_list([f"10.{n >> 8}.{n & 255}.0/24" for n in range(MOST_NETWORKS)])) == MOST_NETWORKS


def test_the_words_of_a_list():
    """The word for the group's VPCs and the ids of prefix lists are no CIDRs; a list may hold nothing else."""
    values = ["pl-1a", OFFICE, "vpc", "pl-1a", 7, "pl-", "pl-xyz", "vpcs"]
    assert words(values) == ["pl-1a", "vpc"]
    assert words("vpc") == []
    assert words({"vpc"}) == ["vpc"]
    assert parse_fixed(["vpc", OFFICE]) == [network(OFFICE)]
    assert parse_fixed(["vpc"]) == []
    with pytest.raises(ValueError, match=r"^'vpc' is not a list of CIDRs"):
        parse_fixed("vpc")
    with pytest.raises(ValueError, match=r"^no network is authorized"):
        parse_fixed([])


@pytest.mark.parametrize(
    ("meanings", "networks"),
    [
        ({"vpc": ["10.0.0.0/16", "10.1.0.0/16"]}, [OFFICE, "10.0.0.0/16", "10.1.0.0/16", VPN]),
        ({"vpc": [VPN]}, [OFFICE, VPN]),
        ({"vpc": [], "pl-1": "pl-1 has no entries"}, "pl-1 has no entries"),
        (
            {"vpc": ["11.0.0.0/8", "12.0.0.0/8"]},
            (
                "the networks of vpc cannot be authorized: 4 networks that are open to the internet together, such as "
                "198.18.7.0/24: authorize no more public addresses than a /8 holds (IPv6: a /16)"
            ),
        ),
        (
            {"vpc": ["0.0.0.0/0"], "pl-1": []},
            (
                "the networks of vpc, pl-1 cannot be authorized: '0.0.0.0/0' is itself open to the internet: IPv4 "
                "networks may be /8 at most"
            ),
        ),
    ],
)
def test_the_networks_of_a_group(meanings, networks):
    """What a word means counts where the word is written; why it is not known is said."""
    expected = networks if isinstance(networks, str) else list(map(network, networks))
    assert resolved([OFFICE, "vpc", VPN], meanings) == expected


@pytest.mark.parametrize(
    ("cidrs", "examples_pass", "found"),
    [
        (["2001:2:0:7::/64", VPN, OFFICE, VPN], False, [OFFICE, VPN, "2001:2:0:7::/64"]),
        (["198.18.7.1/24"], False, [OFFICE]),
        (["203.0.113.0/24"], True, ["203.0.113.0/24"]),
        (["203.0.113.0/24"], False, f"pl-1 cannot be authorized: {EXAMPLE}"),
        ([], False, "pl-1 has no entries: add your networks to it, or remove it from the authorized networks"),
        (
            ["0.0.0.0/0"],
            True,
            "pl-1 cannot be authorized: '0.0.0.0/0' is itself open to the internet: IPv4 networks may be /8 at most",
        ),
    ],
)
def test_a_prefix_list(cidrs, examples_pass, found):
    """A prefix list means its entries, by address, unless they cannot be authorized."""
    assert of_prefix_list("pl-1", cidrs, examples_pass=examples_pass) == found


@pytest.mark.parametrize(
    ("cidrs", "blocked", "missing", "examples"),
    [
        ([OFFICE], True, [6], []),
        ([OFFICE, "2001:2:0:7::/64"], True, [], []),
        ([OFFICE, "10.1.0.0/16"], False, [6], []),
        (["8.0.0.0/5"], False, [6], []),
        (["fd00::/8"], False, [4], []),
        ([], True, [4, 6], []),
        ([OFFICE, "203.0.113.128/25", "2001:db8:1::/48"], True, [], ["203.0.113.128/25", "2001:db8:1::/48"]),
    ],
)
def test_what_networks_lack(cidrs, blocked, missing, examples):
    """Networks may block everybody in the VPC, lack an IP version, or be examples."""
    networks = list(map(network, cidrs))
    assert blocked_inside(networks) == (BLOCKED if blocked else None)
    assert missing_versions(networks) == missing
    assert documentation(networks) == list(map(network, examples))
    refuse_documentation(networks[:1])
