import datetime as dt
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from c7n.utils import yaml_load

from c7n_ingress_tools.rehearsal import authorized
from tests.support.forked import C7N_INGRESS, commands, forked

ROOT = Path(__file__).parents[2]
CASES = yaml_load((ROOT / "tests" / "cases" / "demo.yml").read_text(encoding="utf-8"))
ACCOUNT = "210987654321"


def demo(folder, *arguments):
    """Run the command in a folder, its output not a terminal; return it without spaces at the ends of lines."""
    command = [C7N_INGRESS, "rehearse", *arguments]
    done = forked(command, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}, cwd=folder)
    done.stdout = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
    return done


def missing(table, output):
    """Return the rows of a table that are not in the output, however wide its columns are."""
    found = [" ".join(line.split()) for line in output.splitlines()]
    return [row for row in (" ".join(line.split()) for line in table.splitlines()) if row not in found]


def written(path):
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Run the sample once for the tests of this module; return the folder and what was printed."""
    folder = tmp_path_factory.mktemp("sample")
    return folder, demo(folder)


def test_what_the_caller_has_for_aws_and_python(tmp_path):
    """A profile that does not exist, a proxy that does not answer, and modules of the folder are not used."""
    for name in ("yaml.py", "queue.py", "logging.py", "c7n/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit(__file__)")
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    (tmp_path / "groups.json").write_text(json.dumps([{"GroupId": "sg-00000001", "IpPermissions": [rule]}]))
    proxies = dict.fromkeys(("http_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [C7N_INGRESS, "rehearse", "groups.json"]  # by itself: what is forked has loaded its modules elsewhere
    environment = os.environ | {"AWS_PROFILE": "gone", **proxies}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 open rule closed" in done.stdout


def test_one_at_a_time(tmp_path):
    """A second rehearsal in a folder is refused in one line, and does not disturb the first."""
    command = [commands() / "c7n-ingress", "rehearse"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not (tmp_path / ".local" / "run").exists():
        time.sleep(0.01)
    second = demo(tmp_path)
    assert (second.returncode, second.stdout, second.stderr.count("\n")) == (2, "", 1)
    assert second.stderr.startswith("c7n-ingress: another rehearsal runs in this folder: ")
    assert (first.communicate()[1], first.returncode) == (b"", 0)


def test_sample_is_closed(sample):
    """The sample shows each change, who was left alone, both verdicts and what it cost, and succeeds."""
    _, done = sample
    assert (done.returncode, done.stderr) == (0, "")
    ahead = (dt.datetime.now(dt.timezone.utc).date() + dt.timedelta(days=30)).isoformat()
    assert missing(CASES["sample"]["table"].replace("{in-30-days}", ahead), done.stdout) == []
    for part in CASES["sample"]["lines"]:
        assert part in done.stdout


def test_the_worst_come_first(sample):
    """The terminal has the report's rows, in its order."""
    folder, done = sample
    rows = json.loads((folder / ".local" / "run" / "report.json").read_text())["rows"]
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    places = [
        next(
            place
            for place, line in enumerate(shown)
            if line.startswith(f"{row['name']} {row['traffic']} {row['state']}")
        )
        for row in rows
    ]
    assert sorted(set(places)) == list(dict.fromkeys(places))


def test_sample_shows_a_message_as_it_arrives(sample):
    """A message is shown whole, with the subject that its subscriber reads."""
    folder, done = sample
    messages = (folder / ".local" / "run" / "messages.txt").read_text(encoding="utf-8")
    subject = "Open ingress: 3 rules replaced in 1 group (123456789012 us-east-1)"
    _, rule, rest = done.stdout.partition(f"\n{subject} ───")
    shown, end, _ = rest.partition("\n1 of 9, as a subscriber of the SNS topic gets it ───")
    assert rule, end
    assert messages.count("Subject: ") == 9
    body = next(text for text in messages.split("Subject: ") if 'sg-0c27d4f1e85b9a360 "shop-alb"' in text)
    assert body.startswith(subject)
    whole = body.strip().split("\n\n", 1)[1]
    assert whole.split() == shown.partition("\n")[2].split()  # long sentences are folded


def test_sample_shows_an_undo(sample):
    """A group with modified and revoked rules gets back what was replaced, by the command in its message."""
    folder, done = sample
    for part in CASES["sample"]["undo"]:
        assert part in done.stdout
    log = (folder / ".local" / "run" / "custodian.log").read_text(encoding="utf-8")
    assert "sg-0e91b5c3a7d402f68: undone\n" in log


def test_sample_leaves_its_files(sample):
    """The policy, the zip, items, records and logs are there to be looked at, under a folder that git ignores."""
    folder, _ = sample
    run = folder / ".local" / "run"
    assert [path.name for path in folder.iterdir()] == [".local"]
    assert ".local/" in (ROOT / ".gitignore").read_text().splitlines()
    assert (run / "custodian-open-ingress.zip").stat().st_size
    assert "198.18.7.0/24" in (run / "settings.yml").read_text(encoding="utf-8")
    assert (len(written(run / "items.jsonl")), len(written(run / "records.jsonl"))) == (14, 18)
    assert '"policy": "open-ingress"' in "".join(log.read_text(encoding="utf-8") for log in run.glob("lambda-*.log"))


def test_sample_leaves_a_report(sample):
    """The page, and CSV and JSON beside it, report each open rule: those that were closed, and the exempt one."""
    folder, done = sample
    assert "wrote the report: .local/run/report.html" in done.stdout
    run = folder / ".local" / "run"
    rows = json.loads((run / "report.json").read_text())["rows"]
    assert sorted(row["state"] for row in rows) == ["closed"] * 18 + ["exempt"]
    assert (rows[0]["name"], rows[0]["traffic"], rows[0]["severity"]) == ("ci-runners", "all traffic", "critical")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(row["group"] in page and row["description"] in page for row in rows)
    assert len((run / "report.csv").read_text(encoding="utf-8-sig").splitlines()) == 20


def test_output_is_plain_where_no_terminal_is(sample):
    """What goes into a pipe has no control codes and fits into 120 columns, but for commands: each stays one line."""
    _, done = sample
    assert "\x1b" not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if "c7n-ingress undo " not in line) <= 120


def test_hostile_groups(tmp_path):
    """Of one's own groups, all that can be closed are; what cannot be is named, and the command fails."""
    groups = [{"OwnerId": ACCOUNT, **group} for group in CASES["hostile"]["groups"]]
    full = [cidr(443, "0.0.0.0/0"), *(cidr(port, f"10.0.{port}.0/24") for port in range(59))]
    huge = [
        cidr(443, "0.0.0.0/0"),
        *(cidr(port, f"10.1.{port % 256}.{port // 256}/32", "x" * 250) for port in range(900)),
    ]
    groups.append({"GroupId": "sg-00000009", "GroupName": "full", "OwnerId": ACCOUNT, "IpPermissions": full})
    groups.append({"GroupId": "sg-0000000a", "GroupName": "huge", "OwnerId": ACCOUNT, "IpPermissions": huge})
    path = tmp_path / "groups.json"
    path.write_bytes(json.dumps({"SecurityGroups": groups}).encode("utf-16"))

    done = demo(tmp_path, str(path))

    assert done.returncode == 1
    assert missing(CASES["hostile"]["table"], done.stdout) == []
    for part in CASES["hostile"]["lines"]:
        assert part in done.stdout
    failures = " ".join(done.stdout[done.stdout.index("✗") :].partition("\nAuthorized networks")[0].split()).split(
        "✗ "
    )[1:]
    assert len(failures) == 2
    assert failures[0].startswith("sg-00000008 (umlaut): PolicyExecutionError: replace-ingress: sg-00000008: ")
    assert failures[1].startswith("sg-0000000a (huge): an item of ")
    assert failures[1].endswith(" bytes is never sent to a rule")
    assert "\u202e" not in done.stdout


def cidr(port, source, description=""):
    """Return a TCP rule for one source."""
    ranges = [{"CidrIp": source, "Description": description}]
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}


def test_nothing_open(tmp_path):
    """An account with nothing open succeeds, without a message."""
    path = tmp_path / "groups.json"
    path.write_text('[{"GroupId": "sg-00000001", "GroupName": "web", "IpPermissions": []}]')
    done = demo(tmp_path, str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "AWS Config says   1 COMPLIANT → 1 COMPLIANT" in done.stdout
    assert "Subject" not in done.stdout


def test_interfaces_of_ones_own(tmp_path):
    """The table and each message say what uses one's own groups; those that nothing uses are last."""
    case = CASES["behind"]
    (tmp_path / "groups.json").write_text(json.dumps(case["groups"]))
    (tmp_path / "interfaces.json").write_text(json.dumps(case["interfaces"]))
    done = demo(tmp_path, "groups.json", "--interfaces", "interfaces.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert missing(case["table"], done.stdout) == []
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    places = [shown.index(" ".join(row.split())) for row in case["table"].splitlines()]
    assert places == sorted(places)
    run = tmp_path / ".local" / "run"
    messages = (run / "messages.txt").read_text(encoding="utf-8")
    assert all(line in messages for line in case["messages"])
    assert "! Unused: no interface that was read uses the group. Those of other accounts" in done.stdout
    rows = json.loads((run / "report.json").read_text())["rows"]
    assert {row["name"]: row["exposure"] for row in rows} == case["exposures"]


def test_refuses_in_one_line(tmp_path):
    """A file that is not what it should be is refused in one line on standard error, before anything is started."""
    done = demo(tmp_path, "missing.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "c7n-ingress: missing.json: cannot be read (No such file or directory). This prints the right thing: "
        "aws ec2 describe-security-groups --output json > groups.json\n"
    )
    assert not list(tmp_path.iterdir())


VPCS = {
    "VpcId": "vpc-0123456789abcdef0",
    "CidrBlock": "10.20.0.0/16",
    "CidrBlockAssociationSet": [
        {"AssociationId": "vpc-cidr-assoc-1", "CidrBlock": "10.20.0.0/16", "CidrBlockState": {"State": "associated"}}
    ],
}


def with_vpcs(folder, **changes):
    """Rehearse on one open group, and on VPCs with these changes."""
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    group = {"GroupId": "sg-0123456789abcdef0", "GroupName": "g", "Description": "", "OwnerId": ACCOUNT}
    shape = {**group, "VpcId": VPCS["VpcId"], "IpPermissions": [rule], "IpPermissionsEgress": []}
    (folder / "groups.json").write_text(json.dumps({"SecurityGroups": [shape]}))
    (folder / "vpcs.json").write_text(json.dumps({"Vpcs": [VPCS | changes]}))
    return demo(folder, "groups.json", "--vpcs", "vpcs.json")


EXAMPLES = ("198.18.7.0/24", "2001:2:0:7::/64")


@pytest.mark.parametrize(
    ("policy", "named", "known", "values", "are_examples"),
    [
        (["10.1.0.0/16", "pl-0a", "pl-0b"], [], ["pl-0a"], ("10.1.0.0/16", "pl-0a"), False),
        (["10.1.0.0/16", "vpc"], ["pl-0a"], ["pl-0a"], ("pl-0a",), False),
        (["203.0.113.0/24", "2001:db8:10::/48", "vpc"], [], ["vpc"], (*EXAMPLES, "vpc"), True),
        (["203.0.113.0/24", "2001:db8:10::/48", "vpc"], [], [], EXAMPLES, True),
        (["203.0.113.0/24", "198.51.100.0/24", "10.1.0.0/16"], [], ["vpc"], (EXAMPLES[0], "10.1.0.0/16"), True),
        (["10.1.0.0/16", "vpc"], [], ["vpc"], ("10.1.0.0/16", "vpc"), False),
        (["203.0.113.0/24", "vpc"], ["10.1.0.0/16"], ["vpc"], ("10.1.0.0/16", "vpc"), False),
        (["203.0.113.0/24", "vpc"], ["vpc", "10.1.0.0/16"], ["vpc"], ("vpc", "10.1.0.0/16"), False),
        (["203.0.113.0/24"], ["10.1.0.0/16"], ["vpc"], ("10.1.0.0/16",), False),
        (["vpc"], [], ["vpc"], ("vpc",), False),
        ("{authorized}", [], ["vpc"], EXAMPLES, True),
        (None, ["10.1.0.0/16"], [], ("10.1.0.0/16",), False),
        (["pl-0a", "vpc"], [], [], (), False),
    ],
)
def test_what_is_authorized(policy, named, known, values, are_examples):
    """The user's own networks replace those of the policy, and examples replace documentation networks."""
    chosen = authorized.chosen(policy, named, known=known)
    assert (chosen.values, chosen.are_examples) == (values, are_examples)
    assert ("examples, not yours" in chosen.words) == are_examples


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--authorized", "203.0.113.0/24"], "--authorized: 203.0.113.0/24 is an example from the documentation"),
        (["--authorized", "10.0.0.0/8,0.0.0.0/0"], "--authorized: '0.0.0.0/0' is itself open to the internet"),
        (["--authorized", "10.0.0.0/8", "--authorized", "10.0.0.1/8"], "--authorized: '10.0.0.1/8' is not a CIDR"),
        (["--make", "--authorized", "office"], "AUTHORIZED: 'office' is not a CIDR"),
        (["--authorized", " , "], "--authorized: no network is authorized"),
        (["--authorized", "vpc"], "only vpc is authorized"),
        (["missing.json", "--flows", "x"], "--flows needs --interfaces: "),
        (["--make", "missing.json", "--flows", "x"], "FLOWS needs INTERFACES: "),
    ],
)
def test_refuses_wrong_options(tmp_path, arguments, says):
    """A wrong option is refused in one line before anything is started, by the name that the user wrote."""
    done = demo(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"c7n-ingress: {says}")
    assert done.stderr.count("\n") == 1
    assert ("add --vpcs" in done.stderr) == (says == "only vpc is authorized")
    assert not list(tmp_path.iterdir())


def test_networks_of_ones_own(tmp_path):
    """The user's own networks replace the internet; the first line, the closing lines and the report name them."""
    rules = [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "PrefixListIds": [{"PrefixListId": "pl-0123"}]},
    ]
    arn = "arn:aws-us-gov:ec2:us-gov-west-1:210987654321:security-group/sg-00000001"
    group = {"GroupId": "sg-00000001", "SecurityGroupArn": arn, "OwnerId": ACCOUNT, "IpPermissions": rules}
    (tmp_path / "groups.json").write_text(json.dumps([group]))
    done = demo(tmp_path, "groups.json", "--authorized", "10.1.0.0/16,10.2.0.0/16", "--authorized", "fd00:7::/64")
    assert (done.returncode, done.stderr) == (0, "")
    words = "10.1.0.0/16, 10.2.0.0/16, fd00:7::/64"
    assert done.stdout.startswith(f"Authorized networks: {words}\n✓ ")
    assert f"! Authorized networks: {words}.\n" in done.stdout
    assert "example" not in done.stdout
    assert "what is in prefix lists (pl-0123)" in done.stdout
    run = tmp_path / ".local" / "run"
    records = written(run / "records.jsonl")
    assert {record["now"] for record in records} == {"10.1.0.0/16", "10.2.0.0/16", "fd00:7::/64"}
    assert {row["region"] for row in json.loads((run / "report.json").read_text())["rows"]} == {"us-gov-west-1"}
    assert "region=us-gov-west-1" in (run / "messages.txt").read_text(encoding="utf-8")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"Authorized networks: {words}." in page
    assert "Not rehearsed: what is in prefix lists (pl-0123)" in page


SETTINGS = {
    "authorized": ["10.1.0.0/16"],
    "public-ports": [443],
    "exemptions": [{"group": "sg-00000001", "ports": [22], "until": "2099-01-31", "reason": "support"}],
    "tell": ["slack://#security"],
}


def test_settings_of_ones_own(tmp_path):
    """The settings in the folder count: networks, public ports, and the register, whose entries the report shows.

    Messages go to the rehearsal's topic.
    """
    rules = [
        {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        for port in (22, 443, 8080, 8443)
    ]
    group = {"GroupId": "sg-00000001", "GroupName": "web-shop", "OwnerId": ACCOUNT, "IpPermissions": rules}
    until = (dt.datetime.now(dt.timezone.utc).date() + dt.timedelta(days=400)).isoformat()
    entry = {"group": "web-*", "ports": [8443], "until": until, "reason": "a public shop", "owner": "Jo"}
    given = {**SETTINGS, "exemptions": [*SETTINGS["exemptions"], entry]}
    (tmp_path / "groups.json").write_text(json.dumps([group]))
    (tmp_path / "settings.yml").write_text(json.dumps(given))
    done = demo(tmp_path, "groups.json", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Authorized networks: 10.1.0.0/16\n✓ ")
    (record,) = written(tmp_path / ".local" / "run" / "records.jsonl")
    assert (record["traffic"]["FromPort"], record["now"]) == (8080, "10.1.0.0/16")
    rows = {row["traffic"]: row for row in json.loads(done.stdout)["rows"]}
    assert (rows["TCP 8443"]["state"], rows["TCP 8443"]["after"]) == ("exempt", [])
    said = [rows["TCP 8443"][key] for key in ("until", "exempt_because", "owner")]
    assert said == [until, "a public shop", "Jo"]
    assert rows["TCP 22 (SSH)"]["state"] == "exempt"
    assert (rows["TCP 8080"]["state"], rows["TCP 8080"]["after"]) == ("closed", ["10.1.0.0/16"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({**SETTINGS, "public-port": [80]}, "settings.yml: 'public-port' is not a setting: write public-ports"),
        (
            {**SETTINGS, "authorized": ["0.0.0.0/0"]},
            "settings.yml: authorized: '0.0.0.0/0' is itself open to the internet",
        ),
    ],
)
def test_refuses_wrong_settings(tmp_path, settings, says):
    """Wrong settings are refused in one line before anything is started."""
    (tmp_path / "settings.yml").write_text(json.dumps(settings))
    done = demo(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"c7n-ingress: {says}")
    assert done.stderr.count("\n") == 1


def test_examples_are_named(sample):
    """Examples are named as such in the first line, in the closing lines and in the report."""
    folder, done = sample
    examples = "198.18.7.0/24, 2001:2:0:7::/64 (examples, not yours)"
    hint = "  To use your own, add --authorized 203.0.113.0/24,2001:db8:7::/64"
    assert done.stdout.startswith(f"Authorized networks: {examples}\n{hint}\n")
    assert done.stdout.endswith(f"Authorized networks: {examples}\n{hint}\n")
    page = (folder / ".local" / "run" / "report.html").read_text(encoding="utf-8")
    assert f"Authorized networks: {examples}." in page


def test_vpcs_of_ones_own(tmp_path):
    """With VPCs, the rehearsal authorizes the networks of each group's own, as the policy does."""
    done = with_vpcs(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "! Not rehearsed: further VPCs that groups are associated with" in done.stdout
    assert {record["now"] for record in written(tmp_path / ".local/run/records.jsonl")} == {
        "198.18.7.0/24",
        "10.20.0.0/16",
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"VpcId": "vpc-0fedcba9876543210"}, "has no vpc-0123456789abcdef0, in which groups of the groups' file are"),
        ({"CidrBlock": "10.20.0.1/16"}, 'the CidrBlock "10.20.0.1/16", which is not a network or an address'),
        ({"CidrBlock": None}, "in VPC, without CidrBlock"),
        ({"VpcId": 1}, "the VpcId 1, which is not text"),
        ({"VpcId": None}, "in VPC, without VpcId"),
        ({"VpcId": "vpc-xxxx"}, 'the VpcId "vpc-xxxx", which is not a VPC\'s id'),
        ({"CidrBlockAssociationSet": "all"}, 'the CidrBlockAssociationSet "all", which is not a list'),
        ({"CidrBlockAssociationSet": [{"CidrBlock": "10.0.0.0/16"}]}, "without AssociationId, CidrBlockState"),
        (
            {"CidrBlockAssociationSet": [{"CidrBlock": "10.0.0.0/16", "CidrBlockState": {"State": "associated"}}]},
            "in CidrBlockAssociationSet, without AssociationId",
        ),
    ],
)
def test_wrong_vpcs(tmp_path, changes, says):
    """VPCs that are none end the rehearsal before it begins, with the value and the command that prints right ones."""
    done = with_vpcs(tmp_path, **changes)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "aws ec2 describe-vpcs --output json > vpcs.json" in done.stderr
