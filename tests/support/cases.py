"""The cases of the tests, which are data, read without Cloud Custodian and moto: those take seconds to load."""

import itertools
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
COUNTER = itertools.count(1)


def cases(name):
    """Read tests/cases/<name>.yml."""
    text = (ROOT / "tests" / "cases" / f"{name}.yml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.CSafeLoader)


def interface_of(case, *groups):
    """Return a case's interface as `aws ec2 describe-network-interfaces` would print it."""
    short = {"public", "ipv6", "by", "instance", "tags"}
    shape = {
        "NetworkInterfaceId": f"eni-{next(COUNTER):017x}",
        "InterfaceType": "interface",
        "Description": "",
        "Status": "in-use",
        "RequesterManaged": "by" in case,
        "RequesterId": case.get("by", "123456789012"),
        "Groups": [{"GroupId": group, "GroupName": group} for group in groups],
        "PrivateIpAddresses": [{"Primary": True, "PrivateIpAddress": "10.0.0.4"}],
        "Ipv6Addresses": [{"Ipv6Address": address} for address in case.get("ipv6", [])],
        "TagSet": [{"Key": key, "Value": value} for key, value in case.get("tags", {}).items()],
    }
    if "public" in case:
        shape["Association"] = shape["PrivateIpAddresses"][0]["Association"] = {"PublicIp": case["public"]}
    if "instance" in case:
        shape["Attachment"] = {"InstanceId": case["instance"], "Status": "attached"}
    return shape | {key: value for key, value in case.items() if key not in short}


def permission(rule):
    """Return a case's rule as an IpPermission."""
    source = rule["source"]
    listing, key = {"sg-": ("UserIdGroupPairs", "GroupId"), "pl-": ("PrefixListIds", "PrefixListId")}.get(
        source[:3], ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
    )
    described = {"Description": rule["description"]} if "description" in rule else {}
    return {"IpProtocol": rule["protocol"], **ports(rule), listing: [{key: source, **described}]}


def ports(rule):
    """Return a case's ports, "22" or "80-443" or "8--1", as FromPort and ToPort; for ICMP all where none are named."""
    if "ports" not in rule:
        return {"FromPort": -1, "ToPort": -1} if rule["protocol"].startswith(("icmp", "58")) else {}
    first, _, last = str(rule["ports"]).partition("-")
    return {"FromPort": int(first), "ToPort": int(last or first)}
