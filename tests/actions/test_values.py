"""Lists that policies read at run time."""

import pytest
import yaml

from tests.support.embedded import CUSTODIAN, ROOT, group_of, load, make_queue, messages, rules_of, source_of
from tests.support.forked import forked

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
NOTIFY = {"template": "open-ingress", "transport": {"type": "sqs", "queue": "custodian-mailer"}}


@pytest.fixture
def sweep(cloud, tmp_path):
    """Return what closes a new open group by `custodian run`, with c7n's cache as it is by default."""
    make_queue(cloud)
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="lists")
    home = tmp_path / "home"
    home.mkdir()

    def run(number, body, **action):
        """Put a list into S3, run the policy, and return the sources of the group that is new."""
        s3.put_object(Bucket="lists", Key="list.txt", Body=body)
        group = group_of({"name": f"g{number}", "ingress": [SSH]}, number)
        load([group])
        policy = {
            "name": "p",
            "resource": "aws.security-group",
            "source": "live",
            "filters": [{"type": "open-ingress"}],
        }
        policy["actions"] = [{"type": "replace-ingress", **action}]
        path = tmp_path / "policy.yml"
        path.write_text(yaml.safe_dump({"policies": [policy]}))
        command = [CUSTODIAN, "run", "--region", "us-east-1", "-s", tmp_path / "out", path]
        result = forked(command, env={**cloud.environment(), "HOME": str(home)}, cwd=ROOT)
        assert result.returncode == 0, result.stderr
        return {source_of(rule) for rule in rules_of(group["GroupId"]).values()}

    return run


def test_a_list_of_networks_that_was_corrected(sweep):
    """The next run authorizes what the list says by then, though c7n's cache is on."""
    source = {"authorized-from": {"url": "s3://lists/list.txt"}}
    assert sweep(1, "198.18.7.0/24\n198.18.66.0/24\n", **source) == {"198.18.7.0/24", "198.18.66.0/24"}
    assert sweep(2, "198.18.7.0/24\n", **source) == {"198.18.7.0/24"}


@pytest.mark.parametrize(("key", "listed"), [("to", "to_from"), ("cc", "cc_from")])
def test_a_list_of_recipients_that_was_corrected(cloud, sweep, key, listed):
    """The next run's message goes to those that the list names by then, besides those that the policy names."""
    notify = {**NOTIFY, "to": ["me@example.com"], listed: {"url": "s3://lists/list.txt"}}
    for number, somebody in enumerate(("left@example.com", "new@example.com"), 1):
        sweep(number, somebody, authorized=["198.18.7.0/24"], notify=notify)
        (message,) = messages(cloud)
        assert message["action"][key] == [*(notify["to"] if key == "to" else []), somebody]
        assert message["action"]["to"][0] == "me@example.com"


def test_a_list_of_recipients_of_each_account(cloud, sweep):
    """The list's address and expression may name the account, as in c7n's own notify."""
    source = {"url": "s3://lists/list.txt", "format": "json", "expr": '"{account_id}"'}
    sweep(1, '{"123456789012": ["us@example.com"]}', authorized=["198.18.7.0/24"], notify={**NOTIFY, "to_from": source})
    (message,) = messages(cloud)
    assert message["action"]["to"] == ["us@example.com"]
