import json
import subprocess

from c7n_ingress_tools.embedded_aws.ec2 import load_vpcs
from tests.support.embedded import VPC, group_of, load
from tests.support.forked import C7N_INGRESS


def rehearse(cloud, folder, *arguments):
    """Rehearse with the credentials of an account."""
    command = [C7N_INGRESS, "rehearse", "--json", *arguments]
    return subprocess.run(command, cwd=folder, env=cloud.environment(), capture_output=True, text=True, check=False)


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
