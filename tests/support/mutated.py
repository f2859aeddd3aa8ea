"""Exports that are not what EC2 describes: hypothesis changes a right one."""

import json

from hypothesis import strategies as st

NAMES = (
    *("IpRanges", "Ipv4Ranges", "Ipv6Ranges", "PrefixListIds", "CidrIp", "CidrIpv6", "Id", "GroupId", "IpProtocol"),
    *("FromPort", "ToPort", "IpPermissions", "OwnerId", "Tags", "Key", "SecurityGroupArn", "VpcId", "Cidr", ""),
)
JUNK = (
    *(
        None,
        True,
        0,
        -1,
        22,
        70000,
        1.5,
        10**30,
        "",
        "x",
        "XXXXXXXXXXXX",
        "6",
        "58",
        "icmpv6",
        "256",
        "pl-0123",
        "sg-1",
    ),
    *("arn:aws:ec2:mars-north-1:1:x", [], {}, [None], [[]], ["x"], [{}], {"a": {"b": []}}),
)


def places(value, path=()):
    """Return the path to each value of a document."""
    yield path
    for key, each in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from places(each, (*path, key))


def at(document, path):
    """Return the value at a path."""
    for key in path:
        document = document[key]
    return document


@st.composite
def mutated(draw, export):
    """Draw an export in which one to four things are removed, renamed, replaced, doubled, wrapped or put elsewhere."""
    document = json.loads(json.dumps(export))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([each for each in places(document) if each] or [None]))
        if path is None:
            break
        parent, key = at(document, path[:-1]), path[-1]
        value = json.loads(json.dumps(parent[key]))
        how = draw(st.sampled_from(["remove", "rename", "replace", "double", "wrap", "graft"]))
        if how == "remove" or (how == "rename" and isinstance(parent, list)):
            del parent[key]
        elif how == "rename":
            parent[draw(st.sampled_from(NAMES))] = parent.pop(key)
        elif how == "replace":
            parent[key] = json.loads(json.dumps(draw(st.sampled_from(JUNK))))
        elif how == "double" and isinstance(parent, list):
            parent.append(value)
        elif how == "graft":
            target = at(document, draw(st.sampled_from(list(places(document)))))
            if isinstance(target, dict):
                target[draw(st.sampled_from(NAMES))] = value
            elif isinstance(target, list):
                target.append(value)
        else:
            parent[key] = [value]
    return document
