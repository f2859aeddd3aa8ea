import codecs
import datetime as dt
import json
from pathlib import Path

import pytest
from c7n.utils import yaml_load

from mode.local import groups

CASES = yaml_load(Path(__file__).with_name("cases").joinpath("groups-files.yml").read_text(encoding="utf-8"))
ENDING = f". This prints the right thing: {groups.COMMAND}"


def cases(kind):
    """Give the cases of a kind, named."""
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
    with pytest.raises(groups.RefusedError) as refused:
        groups.load(path)
    assert str(refused.value) == case["says"].replace("{file}", str(path)) + ENDING
    assert "\n" not in str(refused.value)


def test_refuses_other_encodings(tmp_path):
    """A file in a Windows code page is refused with the place of the first byte that is neither UTF-8 nor UTF-16."""
    path = tmp_path / "groups.json"
    path.write_bytes('[{"GroupId": "ü"}]'.encode("cp1252"))
    with pytest.raises(groups.RefusedError, match=r"neither UTF-8 nor UTF-16 \(byte 15 is 0xfc\)"):
        groups.load(path)


def test_refuses_a_byte_order_mark_alone(tmp_path):
    """A file that PowerShell made of nothing is refused as not JSON."""
    path = tmp_path / "groups.json"
    path.write_bytes(codecs.BOM_UTF16_LE)
    with pytest.raises(groups.RefusedError, match=r"not JSON|empty"):
        groups.load(path)


@pytest.mark.parametrize(
    ("name", "says"), [("missing.json", "there is no such file"), (".", r"cannot be read \(Is a directory\)")]
)
def test_refuses_what_cannot_be_read(tmp_path, name, says):
    """A path that leads to no file is refused in the same way."""
    with pytest.raises(groups.RefusedError, match=says):
        groups.load(tmp_path / name)


def test_takes_six_hundred_groups_of_several_vpcs():
    """A whole account's groups are read, groups of one name in several VPCs among them."""
    listed = [
        {"GroupId": f"sg-{n:08x}", "GroupName": "default", "VpcId": f"vpc-{n % 3}", "IpPermissions": []}
        for n in range(600)
    ]
    read = groups.parse(json.dumps({"SecurityGroups": listed}).encode(), "groups.json")
    assert [(group["GroupId"], group["VpcId"]) for group in read] == [(g["GroupId"], g["VpcId"]) for g in listed]


def test_tells_account_and_region():
    """Account and region are those of most groups, and None where the file does not say."""
    taken = groups.parse(CASES["taken"][0]["text"].encode(), "groups.json")
    assert (groups.account(taken), groups.region(taken)) == ("210987654321", "eu-west-1")
    bare = groups.parse(CASES["taken"][1]["text"].encode(), "groups.json")
    assert (groups.account(bare), groups.region(bare)) == (None, None)


def test_sample_has_an_exemption_that_is_ahead():
    """The sample's exemption ends thirty days after the day on which it is read."""
    tags = [tag for group in groups.sample(dt.date(2030, 1, 31)) for tag in group["Tags"]]
    assert {"Key": "open-ingress-until", "Value": "2030-03-02"} in tags
