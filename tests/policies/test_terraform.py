import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from ipaddress import ip_network
from os import environ, pathsep
from pathlib import Path

import pytest
import tfparse
import yaml
from c7n.utils import yaml_load

from c7n_ingress.decide.openness import is_open
from c7n_ingress.decide.ports import parse_ports
from c7n_ingress.decide.rules import Traffic
from tests.policies.networks import WIDE
from tests.support.cases import ports
from tests.support.docs import BLOCKS
from tests.support.embedded import ROOT, cases, day, policy_named
from tests.support.forked import commands

FOLDER = ROOT / "policies" / "terraform"
POLICIES = sorted(FOLDER.glob("*.yml"))
COMMANDS = Path(sys.executable).parent
CASES = [case for case in cases("open-ingress")["groups"] if "together" not in case]  # rules are judged one by one
PREFIX_LISTS = cases("open-ingress")["prefix-lists"]
WRITTEN = cases("terraform")
PORTS = {"closed": (), "a public website": (80, 443)}
README = (FOLDER / "README.md").read_text()
SNIPPETS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)

OPEN = 'resource "aws_security_group_rule" "r" {\n  type = "ingress"\n  cidr_blocks = ["0.0.0.0/0"]\n}\n'
CLOSED = OPEN.replace("0.0.0.0/0", "198.18.7.0/24")

# Where a rule's source is, by its kind: IPv4, IPv6, another group, a prefix list.
INLINE = ("cidr_blocks", "ipv6_cidr_blocks", "security_groups", "prefix_list_ids")
RULE = ("cidr_blocks", "ipv6_cidr_blocks", "source_security_group_id", "prefix_list_ids")
VPC_RULE = ("cidr_ipv4", "cidr_ipv6", "referenced_security_group_id", "prefix_list_id")

policies = pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
verdicts = pytest.mark.parametrize(("terraform", "code"), [(CLOSED, 0), (OPEN, 1)], ids=["closed", "open"])


def run(*command, folder=ROOT, **environment):
    """Run a command, with those that are installed for the tests before all others."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environ
        | {"PATH": pathsep.join([str(commands()), str(COMMANDS), environ["PATH"]]), "COLUMNS": "200"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def policy_in(path):
    """Read the one policy of a file."""
    (policy,) = yaml_load(path.read_text())["policies"]
    return policy


@policies
def test_a_policy_speaks_for_its_live_twin(path):
    """The file's name is the policy's name, and a live policy has the same name and the same metadata."""
    policy, twin = policy_in(path), policy_named(path.stem)
    assert policy["name"] == path.stem
    assert policy["metadata"] == twin["metadata"]


def test_the_cases_of_c7n_left(tmp_path):
    """`c7n-left test` finds in each policy's folder what its plan names, and nothing else."""
    # A copy, because c7n-left writes the variables that have no value beside the Terraform files.
    copy = shutil.copytree(FOLDER, tmp_path / "terraform")

    result = run("c7n-left", "test", "-p", copy)

    assert result.returncode == 0, result.stdout + result.stderr
    assert re.findall(r"Success ([\w-]+)", result.stdout) == [path.stem for path in POLICIES], result.stdout
    assert all(
        (copy / "tests" / path.stem / name).exists() for path in POLICIES for name in ("positive.tf", "negative.tf")
    )


@pytest.mark.parametrize("public_ports", PORTS.values(), ids=PORTS)
def test_terraform_gets_the_verdict_of_the_group_that_it_makes(tmp_path, public_ports):
    """Each case of the live policy has the same verdict in every way to write it in Terraform, rule by rule."""
    chosen = [case for case in CASES if case.get("public-ports", []) == list(public_ports)]
    named = {f"case{number}": case for number, case in enumerate(chosen)}
    (tmp_path / "main.tf").write_text("\n".join(text for name, case in named.items() for text in written(case, name)))

    found = Counter(re.sub(r"_\d+$", "", address) for address in judged(tmp_path, public_ports))

    assert found == +sum((findings(case, name) for name, case in named.items()), Counter())


def judged(folder, public_ports):
    """Return the addresses of what c7n-left finds in a folder, with one's own public ports in the policy."""
    shipped = (FOLDER / "open-ingress.yml").read_text()
    assert "&public-ports []" in shipped
    edited = folder / "policies" / "open-ingress.yml"
    edited.parent.mkdir()
    edited.write_text(shipped.replace("&public-ports []", f"&public-ports {list(public_ports)}"))
    result = run("c7n-left", "run", "-p", "policies", "-d", ".", "-o", "json", folder=folder)
    assert result.returncode == 1, result.stderr
    return [finding["resource"]["__tfmeta"]["path"] for finding in json.loads(result.stdout)["results"]]


def findings(case, name):
    """Count what is to be found of a case: its group where that holds the rules, else each of its open rules.

    A rule that refers to an open prefix list is not: the list itself is.
    """
    became = [rule["was"] for rule in case.get("afterwards", []) if "was" in rule]
    was_open = became + case.get("gone", [])
    assert bool(was_open) == (case["verdict"] == "NON_COMPLIANT")
    rules = sum(not text.startswith("pl-") for text in was_open)
    group = min(rules, 1)
    return Counter(
        {
            f"aws_security_group.{name}_blocks": group,
            f"aws_security_group.{name}_list": group,
            f"aws_default_security_group.{name}": group,
            f"aws_security_group_rule.{name}": rules,
            f"aws_vpc_security_group_ingress_rule.{name}": rules,
        }
    )


def written(case, name):
    """Write a case's group in each of Terraform's ways."""
    tags = {"tags": {key: day(value) for key, value in case.get("tags", {}).items()}}
    inline = [{**source(rule, INLINE), **traffic(rule)} for rule in case["ingress"]]
    blocks = [hcl("ingress", rule) for rule in inline]
    yield resource("aws_security_group", f"{name}_blocks", tags, *blocks)
    yield resource("aws_security_group", f"{name}_list", {**tags, "ingress": inline})
    yield resource("aws_default_security_group", name, tags, *blocks)

    yield resource("aws_security_group", name, tags)
    group = {"security_group_id": f"${{aws_security_group.{name}.id}}"}
    for number, rule in enumerate(case["ingress"]):
        arguments = {**group, "type": "ingress", **source(rule, RULE), **traffic(rule)}
        yield resource("aws_security_group_rule", f"{name}_{number}", arguments)
        arguments = {**group, **source(rule, VPC_RULE), **vpc_traffic(rule)}
        yield resource("aws_vpc_security_group_ingress_rule", f"{name}_{number}", arguments)


def source(rule, keys):
    """Return a rule's source under its key; what is named in the plural is a list."""
    text = rule["source"]
    key = keys[{"sg-": 2, "pl-": 3}.get(text[:3], int(":" in text))]
    return {key: [text] if key.endswith("s") else text}


def traffic(rule):
    """Return protocol and ports as Terraform wants them in a group and in aws_security_group_rule: 0 for no ports."""
    return {"protocol": rule["protocol"], "from_port": 0, "to_port": 0, **numbers(rule)}


def vpc_traffic(rule):
    """Return protocol and ports as Terraform wants them in aws_vpc_security_group_ingress_rule."""
    return {"ip_protocol": rule["protocol"], **numbers(rule)}


def numbers(rule):
    """Return the ports of a rule that has some."""
    return {{"FromPort": "from_port", "ToPort": "to_port"}[name]: port for name, port in ports(rule).items()}


def resource(kind, name, arguments, *blocks):
    """Write a resource."""
    return hcl(f'resource "{kind}" "{name}"', arguments, *blocks)


def hcl(head, arguments, *blocks):
    """Write a block; HCL takes values as JSON has them."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in arguments.items()]
    return "\n".join([f"{head} {{", *lines, *blocks, "}"])


def test_a_prefix_list_gets_the_verdict_of_the_groups_that_refer_to_it(tmp_path):
    """A prefix list is found, however it is written, if the live policy replaces rules that refer to it."""
    (tmp_path / "main.tf").write_text("\n".join(text for item in PREFIX_LISTS.items() for text in written_list(*item)))

    found = {re.sub(r"_\d+$", "", address) for address in judged(tmp_path, public_ports=[])}

    replaced = {text for case in CASES for text in case.get("gone", []) if text in PREFIX_LISTS}
    assert found == {
        f"aws_ec2_managed_prefix_list{address}"
        for name in replaced
        for address in (f".{name}_blocks", f".{name}_list", f"_entry.{name}")
    }


def written_list(name, networks):
    """Write a prefix list in each of Terraform's ways."""
    entries = [{"cidr": network, "description": "a case"} for network in networks]
    yield resource("aws_ec2_managed_prefix_list", f"{name}_blocks", {}, *(hcl("entry", entry) for entry in entries))
    yield resource("aws_ec2_managed_prefix_list", f"{name}_list", {"entry": entries})
    for number, entry in enumerate(entries):
        yield resource("aws_ec2_managed_prefix_list_entry", f"{name}_{number}", {"prefix_list_id": name, **entry})


def test_wide_networks(tmp_path):
    """Of all networks that the patterns could confuse, those that are open are stopped."""
    entries = [
        resource("aws_ec2_managed_prefix_list_entry", f"n{number}", {"cidr": text}) for number, text in enumerate(WIDE)
    ]
    (tmp_path / "main.tf").write_text("\n".join(entries))
    found = {WIDE[int(address.partition(".n")[2])] for address in judged(tmp_path, public_ports=[])}
    assert found == {text for text in WIDE if is_open(ip_network(text))}


@pytest.mark.parametrize("case", WRITTEN["public-ports"], ids=lambda case: str(case["public-ports"]))
def test_a_public_port_as_terraform_writes_it(tmp_path, case):
    """A public port is written as in settings.yml. Other ports, and protocols without ports, are stopped."""
    opened = {"type": "ingress", "cidr_blocks": ["0.0.0.0/0"]}
    rules = {"pass": case["pass"], "stopped": case["stopped"]}
    text = "\n".join(
        resource("aws_security_group_rule", f"{name}_{number}", opened | rule)
        for name, each in rules.items()
        for number, rule in enumerate(each)
    )
    (tmp_path / "main.tf").write_text(text)

    found = judged(tmp_path, case["public-ports"])

    assert sorted(found) == sorted(f"aws_security_group_rule.stopped_{n}" for n in range(len(case["stopped"])))
    parsed = parse_ports(case["public-ports"])
    assert [live(rule) in parsed for rule in case["pass"]] == [True] * len(case["pass"])


def live(rule):
    """Return a rule's traffic as the live policy reads it."""
    return Traffic(
        {"6": "tcp", "17": "udp"}.get(rule["protocol"], rule["protocol"]), int(rule["from_port"]), int(rule["to_port"])
    )


def test_what_is_not_known_stops_nothing(tmp_path):
    """Unknown values neither make c7n-left fail, nor count as open."""
    for policy in POLICIES:
        copy = shutil.copytree(FOLDER / "tests" / policy.stem, tmp_path / policy.stem)
        for opened in copy.glob("positive*"):
            opened.unlink()

        result = run("c7n-left", "run", "-p", FOLDER, "-d", copy)

        assert result.returncode == 0, result.stdout


def test_the_limits_of_the_readme(tmp_path):
    """What a value decides passes without the value and is found with it; the other limits always pass."""
    (tmp_path / "main.tf").write_text("\n".join(case["terraform"] for case in WRITTEN["limits"]))
    values = tmp_path / "given.tfvars"
    values.write_text("".join(f"{case['values']}\n" for case in WRITTEN["limits"] if "values" in case))
    command = ["c7n-left", "run", "-p", FOLDER, "-d", tmp_path, "-o", "json"]

    without, given = run(*command), run(*command, "--var-file", values)

    assert (without.returncode, json.loads(without.stdout)["results"]) == (0, [])
    found = {each["resource"]["__tfmeta"]["path"].partition("[")[0] for each in json.loads(given.stdout)["results"]}
    assert found == {case["found"] for case in WRITTEN["limits"] if "values" in case}


@pytest.mark.parametrize("case", WRITTEN["stopped"], ids=lambda case: case["name"])
def test_a_group_that_is_named_as_a_whole(tmp_path, case):
    """If code names an exempt group as a whole, the group's rule is stopped."""
    exempt = resource("aws_security_group", "exempt", {"tags": {"open-ingress-until": day("+30")}})
    (tmp_path / "main.tf").write_text(f"{exempt}\n{case['terraform']}")
    (found,) = judged(tmp_path, public_ports=[])
    assert found.startswith("aws_vpc_security_group_ingress_rule.rule")


def test_networks_that_functions_join(tmp_path):
    """An open network is found in a set, in a union and in a joined list."""
    opened = 'resource "aws_security_group_rule" "%s" {\n  type = "ingress"\n  cidr_blocks = %s\n}\n'
    (tmp_path / "main.tf").write_text("".join(opened % case for case in WRITTEN["known"].items()))
    found = judged(tmp_path, public_ports=[])
    assert sorted(found) == sorted(f"aws_security_group_rule.{name}" for name in WRITTEN["known"])


def test_a_variable_without_a_type(tmp_path):
    """c7n-left ends with a panic on a variable without a type in `for_each`, and does not let the code pass."""
    (tmp_path / "main.tf").write_text(WRITTEN["panics"])
    result = run(COMMANDS / "c7n-left", "run", "-p", FOLDER, "-d", tmp_path)
    assert result.returncode not in (0, 1)
    assert "panic: value is not a collection" in result.stderr


@verdicts
def test_exit_code(tmp_path, terraform, code):
    """`c7n-left run` ends with 1 if a port is open, and with 0 if none is."""
    (tmp_path / "main.tf").write_text(terraform)
    result = run("c7n-left", "run", "-p", FOLDER, "-d", tmp_path)
    assert result.returncode == code, result.stdout + result.stderr
    assert ("Name the networks that need the port" in result.stdout) is bool(code)


@pytest.fixture
def repository(tmp_path):
    """Make somebody's Terraform repository, with the policy copied into it as the README says."""
    folder = tmp_path / "repository"
    (folder / "policies").mkdir(parents=True)
    shutil.copy(FOLDER / "open-ingress.yml", folder / "policies")
    return folder


def test_the_readme_installs_what_is_tested():
    """The version of c7n-left that the README names is the one of the extra `left`."""
    (named,) = set(re.findall(r"c7n-left[<>=][\d.,<>=]+", README))
    assert f'left = ["{named}"]' in (ROOT / "pyproject.toml").read_text()


@verdicts
def test_the_workflow_of_the_readme(repository, terraform, code):
    """The README's GitHub Actions workflow fails on an open port alone, and marks its lines."""
    (repository / "main.tf").write_text(terraform)
    (job,) = yaml_load(SNIPPETS[0])["jobs"].values()
    install, judge = [step["run"] for step in job["steps"] if "run" in step]
    assert install.startswith("pip install 'c7n-left")

    result = run("bash", "-e", "-c", judge, folder=repository)

    assert result.returncode == code, result.stdout + result.stderr
    assert ("::error file=main.tf,line=1,lineEnd=4," in result.stdout) is bool(code)


@verdicts
def test_the_hook_of_the_readme(repository, tmp_path, terraform, code):
    """The README's pre-commit hook stops a commit that opens a port, and no other."""
    (repository / "main.tf").write_text(terraform)
    config = yaml_load(SNIPPETS[1])
    # The c7n-left that is installed here, in place of one that pre-commit would fetch.
    config["repos"][0]["hooks"][0] |= {"language": "system", "additional_dependencies": []}
    (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    assert run("git", "init", "--quiet", folder=repository).returncode == 0
    assert run("git", "add", "--all", folder=repository).returncode == 0

    result = run("pre-commit", "run", folder=repository, PRE_COMMIT_HOME=str(tmp_path / "pre-commit"))

    assert result.returncode == code, result.stdout + result.stderr
    assert ("Failed" if code else "Passed") in result.stdout


def test_the_stack_by_terraform(tmp_path):
    """The Terraform of the documentation makes the stack, with parameters and values that the stack takes."""
    (block,) = [block for block in BLOCKS if block.language == "hcl"]
    assert len(block.text.splitlines()) <= 20
    (tmp_path / "main.tf").write_text(block.text)
    (tmp_path / "mode").mkdir()
    shutil.copy(ROOT / "mode" / "stack.yml", tmp_path / "mode")
    parsed = tfparse.load_from_path(str(tmp_path), stop_on_hcl_error=True)
    (stack,) = parsed["aws_cloudformation_stack"]
    template = (ROOT / "mode" / "stack.yml").read_text()
    assert stack["template_body"] == template
    assert stack["capabilities"] == ["CAPABILITY_NAMED_IAM"]
    known = yaml_load(re.sub(r"!\w+", "", template[: template.index("Conditions:")]))["Parameters"]
    required = {name for name, parameter in known.items() if "Default" not in parameter}
    assert required <= stack["parameters"].keys() <= known.keys()
    for name, value in stack["parameters"].items():
        assert value in known[name].get("AllowedValues", [value])
        assert re.search(known[name].get("AllowedPattern", ""), value)
    (output,) = parsed["output"]
    assert output["__tfmeta"]["path"].endswith("open_ingress")
