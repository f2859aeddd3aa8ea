import codecs
import datetime as dt
import json
from pathlib import Path

import pytest
from c7n.utils import yaml_load
from hypothesis import given

from c7n_ingress.decide.behind import behind
from c7n_ingress_tools.embedded_aws import config, ec2
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.rehearsal import account, groups
from c7n_ingress_tools.report.sources import of_rehearsal
from tests.support.mutated import mutated

CASES = yaml_load(Path(__file__).parents[1].joinpath("cases").joinpath("groups-files.yml").read_text(encoding="utf-8"))
ENDING = f" This prints the right thing: {groups.EXPORT.command}"


def cases(kind):
    """Return the cases of a kind, named."""
    return [pytest.param(case, id=case["name"]) for case in CASES[kind]]


@pytest.mark.parametrize("case", cases("taken"))
def test_takes(case):
    """What people really have is read as EC2 would describe it."""
    assert groups.parse(case["text"].encode(), "groups.json") == case["groups"]


@pytest.mark.parametrize("encoding", CASES["encodings"])
@pytest.mark.parametrize("indent", [None, 4])
def test_takes_encodings(tmp_path, encoding, indent):
    """A file is read the same in each of the encodings in which shells write it, on one line or many."""
    case = CASES["taken"][0]
    path = tmp_path / "groups.json"
    path.write_bytes(json.dumps(json.loads(case["text"]), indent=indent, ensure_ascii=False).encode(encoding))
    assert groups.load(path) == case["groups"]


@pytest.mark.parametrize("case", cases("refused"))
def test_refuses(tmp_path, case):
    """What is no list of groups is refused in one line that says why, and which command prints one."""
    path = tmp_path / "groups.json"
    path.write_text(case["text"], encoding="utf-8")
    with pytest.raises(CommandError) as refused:
        groups.load(path)
    says = case["says"].replace("{file}", str(path))
    assert str(refused.value) == f"{says}.{ENDING}"
    assert "\n" not in str(refused.value)


def test_refuses_other_encodings(tmp_path):
    """A file in a Windows code page is refused with the place of the first byte that cannot be read."""
    path = tmp_path / "groups.json"
    path.write_bytes('[{"GroupId": "ü"}]'.encode("cp1252"))
    with pytest.raises(CommandError, match=r"not JSON in UTF-8 or UTF-16 \(.* byte 0xfc in position 14"):
        groups.load(path)


def test_refuses_a_byte_order_mark_alone(tmp_path):
    """A file that PowerShell made of nothing is refused as not JSON."""
    path = tmp_path / "groups.json"
    path.write_bytes(codecs.BOM_UTF16_LE)
    with pytest.raises(CommandError, match=r"not JSON|empty"):
        groups.load(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [("missing.json", r"cannot be read \(No such file or directory\)"), (".", r"cannot be read \(Is a directory\)")],
)
def test_refuses_what_cannot_be_read(tmp_path, name, says):
    """A path that leads to no file is refused in the same way."""
    with pytest.raises(CommandError, match=says):
        groups.load(tmp_path / name)


def test_takes_six_hundred_groups_of_several_vpcs():
    """A whole account's groups are read, groups of one name in several VPCs among them."""
    listed = [
        {"GroupId": f"sg-{n:08x}", "GroupName": "default", "VpcId": f"vpc-{n % 3}", "IpPermissions": []}
        for n in range(600)
    ]
    read = groups.parse(json.dumps({"SecurityGroups": listed}).encode(), "groups.json")
    assert [(group["GroupId"], group["VpcId"]) for group in read] == [(g["GroupId"], g["VpcId"]) for g in listed]


def test_returns_account_and_region():
    """Account and region are those of most groups, and None where the file does not say."""
    taken = groups.parse(CASES["taken"][0]["text"].encode(), "groups.json")
    assert (groups.account(taken), groups.region(taken)) == ("210987654321", "eu-west-1")
    bare = groups.parse(CASES["taken"][1]["text"].encode(), "groups.json")
    assert (groups.account(bare), groups.region(bare)) == (None, None)


@pytest.mark.parametrize(
    ("partition", "region"), [("aws-us-gov", "us-gov-west-1"), ("aws-cn", "cn-north-1"), ("aws", "us-east-1")]
)
def test_region_of_any_partition(partition, region):
    """The region is the one of the groups' ARNs, in each of AWS's partitions."""
    arn = f"arn:{partition}:ec2:{region}:123456789012:security-group/sg-0a1b2c3d"
    listed = [{"GroupId": "sg-0a1b2c3d", "IpPermissions": [], "SecurityGroupArn": arn}]
    assert groups.region(groups.parse(json.dumps(listed).encode(), "groups.json")) == region


def test_sample_has_an_exemption_that_is_ahead():
    """The sample's exemption ends thirty days after the day on which it is read."""
    tags = [tag for group in groups.sample(dt.date(2030, 1, 31)) for tag in group["Tags"]]
    assert {"Key": "open-ingress-until", "Value": "2030-03-02"} in tags


EXPORT = [
    {
        "GroupId": f"sg-0000000{number}",
        "GroupName": f"group {number}",
        "Description": "d",
        "OwnerId": "123456789012",
        "VpcId": "vpc-0123456789abcdef0",
        "SecurityGroupArn": f"arn:aws:ec2:us-east-1:123456789012:security-group/sg-0000000{number}",
        "Tags": [{"Key": "team", "Value": "web"}],
        "IpPermissions": [
            {
                **traffic,
                "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}, {"CidrIp": "10.0.0.0/8"}],
                "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
                "PrefixListIds": [{"PrefixListId": "pl-0123", "Description": "offices"}],
                "UserIdGroupPairs": [{"GroupId": "sg-0ffffffff", "UserId": "999999999999"}],
            }
        ],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }
    for number, traffic in enumerate(
        (
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22},
            {"IpProtocol": "-1"},
            {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1},
        )
    )
]
OPEN = {"0.0.0.0/0", "::/0"}


def open_sources(value, key=None):
    """Return the open networks in a value, but for what is in descriptions, whatever its fields are called."""
    if isinstance(value, dict):
        return {each for name, inner in value.items() for each in open_sources(inner, name) | OPEN & {name}}
    if isinstance(value, list):
        return {each for inner in value for each in open_sources(inner, key)}
    return {value} & OPEN if isinstance(value, str) and key != "Description" else set()


@given(document=mutated(EXPORT))
def test_whatever_a_file_has(embedded_aws, document):
    """A file that is not what EC2 describes is refused in one line, or each open source in it is rehearsed on."""
    try:
        read = groups.parse(json.dumps(document).encode(), "groups.json")
    except CommandError as refused:
        said = str(refused)
    else:
        said = None
        rehearse(embedded_aws, read, document)
    assert said is None or (said.endswith(ENDING) and "\n" not in said)


def rehearse(cloud, read, document):
    """Put groups into the embedded EC2 and into the report; see that each open source of the document is there."""
    for group, item in zip(read, document, strict=True):
        assert open_sources(group["IpPermissions"]) >= open_sources(item["IpPermissions"]), item
    cloud.reset()
    region = groups.region(read) or "us-east-1"
    owner = groups.account(read) or "123456789012"
    ec2.load_groups([group | {"OwnerId": group["OwnerId"] or owner} for group in read], region)
    described = cloud.session(region, owner).client("ec2").describe_security_groups()["SecurityGroups"]
    live = {group["GroupId"]: group for group in described}
    for group in read:
        if group["OwnerId"] in {"", owner}:
            there = live[group["GroupId"]]
            assert open_sources(there["IpPermissions"]) == open_sources(group["IpPermissions"])
            config.event(config.configuration_item(there, region), "rule")
    report = of_rehearsal(read, [], [], account=owner, region=region, now=dt.datetime.now(dt.timezone.utc))
    assert {row.group for row in report.rows} == {
        group["GroupId"] for group in read if open_sources(group["IpPermissions"])
    }


INTERFACES = json.loads(account.SAMPLE.read_text(encoding="utf-8"))["NetworkInterfaces"]
VPCS = [
    {
        "VpcId": "vpc-0123456789abcdef0",
        "CidrBlock": "10.0.0.0/16",
        "CidrBlockAssociationSet": [
            {"AssociationId": "a", "CidrBlock": "10.0.0.0/16", "CidrBlockState": {"State": "associated"}}
        ],
        "Ipv6CidrBlockAssociationSet": [
            {"AssociationId": "b", "Ipv6CidrBlock": "2600:1f00::/56", "Ipv6CidrBlockState": {"State": "associated"}}
        ],
    }
]


@given(document=mutated(INTERFACES))
def test_whatever_a_file_of_interfaces_has(embedded_aws, document):
    """A file of interfaces is refused in one line, or each of its interfaces uses the groups that it names."""
    try:
        read = account.INTERFACES.parse(json.dumps(document).encode(), "interfaces.json")
    except CommandError as refused:
        said = str(refused)
    else:
        said = None
        for each, item in zip(read, document, strict=True):
            assert [group["GroupId"] for group in each["Groups"]] == [group["GroupId"] for group in item["Groups"]]
        behind(read)
        embedded_aws.reset()
        ec2.load_interfaces(read, "us-east-1")
        described = embedded_aws.session().client("ec2").describe_network_interfaces()["NetworkInterfaces"]
        assert {each["NetworkInterfaceId"] for each in described} == {each["NetworkInterfaceId"] for each in read}
    assert said is None or (said.endswith(f": {account.INTERFACES.command}") and "\n" not in said)


@given(document=mutated(VPCS))
def test_whatever_a_file_of_vpcs_has(embedded_aws, tmp_path_factory, document):
    """A file of VPCs is refused in one line, or EC2 describes each of its VPCs."""
    path = tmp_path_factory.getbasetemp() / "vpcs.json"
    path.write_text(json.dumps(document))
    try:
        read = account.load_vpcs(path, [])
    except CommandError as refused:
        said = str(refused)
    else:
        said = None
        embedded_aws.reset()
        ec2.load_vpcs(read)
        described = embedded_aws.session().client("ec2").describe_vpcs()["Vpcs"]
        assert {vpc["VpcId"] for vpc in described} >= {vpc["VpcId"] for vpc in read}
    assert said is None or (said.endswith(f": {account.VPCS.command}") and "\n" not in said)
