import json

from c7n_ingress_tools.embedded_aws.ec2 import load_prefix_list, load_vpcs
from tests.support.embedded import VPC, group_of, load
from tests.support.forked import C7N_INGRESS, forked


def rehearse(cloud, folder, *arguments):
    """Rehearse with the credentials of an account."""
    command = [C7N_INGRESS, "rehearse", "--json", *arguments]
    return forked(command, cwd=folder, env=cloud.environment())


def test_live_groups(cloud, tmp_path):
    """`--live` rehearses with the groups and VPCs of a region, and changes nothing there."""
    ssh = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
    load([group_of({"name": "bastion", "ingress": [ssh]}, 1)])
    load_vpcs([{"VpcId": VPC, "CidrBlock": "10.0.0.0/16"}])
    cloud.calls.clear()
    done = rehearse(cloud, tmp_path, "--live", "--region", "us-east-1", "--authorized", "198.18.7.0/24")
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)["rows"]] == ["bastion"]
    assert {call.action for call in cloud.calls if call.service == "ec2"} == {
        "DescribeSecurityGroups",
        "DescribeNetworkInterfaces",
        "DescribeVpcs",
    }


def test_live_needs_a_region(cloud, tmp_path):
    """`--live` without a region, a region without `--live`, and files beside it are refused."""
    for words in (["--live"], ["--region", "us-east-1"], ["--live", "--region", "us-east-1", "groups.json"]):
        done = rehearse(cloud, tmp_path, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[-1].startswith("Error: --live")


def test_live_prefix_lists(cloud, tmp_path):
    """`--live` reads the prefix lists that are authorized, and those that rules refer to, of any owner."""
    load_prefix_list("pl-0a", ["198.18.8.0/24", "198.18.7.0/24"], owner="210987654321")
    load_prefix_list("pl-0b", ["0.0.0.0/0"])
    load_prefix_list("pl-0c", ["0.0.0.0/0"], owner="AWS")
    ingress = [
        {"protocol": "tcp", "ports": port, "source": source}
        for port, source in [(22, "0.0.0.0/0"), (23, "pl-0b"), (24, "pl-0c")]
    ]
    load([group_of({"name": "bastion", "ingress": ingress}, 1)])
    load_vpcs([{"VpcId": VPC, "CidrBlock": "10.0.0.0/16"}])
    done = rehearse(cloud, tmp_path, "--live", "--region", "us-east-1", "--authorized", "198.18.1.0/24,pl-0a")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / ".local" / "run" / "records.jsonl").read_text().splitlines()
    made = {(each["traffic"]["FromPort"], each["now"]) for each in map(json.loads, lines) if each["now"]}
    authorized = ["10.0.0.0/16", *(f"198.18.{part}.0/24" for part in (1, 7, 8))]
    assert made == {(port, network) for port in (22, 23) for network in authorized}
    assert "what is in prefix lists (pl-0c)" in (tmp_path / ".local" / "run" / "report.html").read_text()


def test_live_prefix_list_that_cannot_be_read(cloud, tmp_path):
    """`--live` ends with one line where EC2 does not list an authorized prefix list."""
    load([group_of({"name": "bastion", "ingress": [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}]}, 1)])
    done = rehearse(cloud, tmp_path, "--live", "--region", "us-east-1", "--authorized", "pl-0a")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "InvalidPrefixList" in done.stderr
    assert "pl-0a" in done.stderr


def test_prefix_lists_without_live(tmp_path):
    """Without `--live`, the rehearsal says that it cannot read the prefix lists that are authorized."""
    command = [C7N_INGRESS, "rehearse", "--authorized", "198.18.1.0/24,pl-0a"]
    done = forked(command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the entries of authorized prefix lists (pl-0a). Only --live reads them." in " ".join(done.stdout.split())
