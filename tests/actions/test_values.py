"""Lists that policies read at run time."""

from types import SimpleNamespace

import pytest
import yaml

from c7n_ingress.aws.values import check_source, fresh_values, scheme_of
from tests.support.embedded import CUSTODIAN, ROOT, group_of, load, loaded, make_queue, messages, rules_of, source_of
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


ANYONE = "anyone on the way could write the list; use https or S3"
NO_FORMAT = "the name does not say what it is; add 'format: txt', csv or json"
REFUSED = {
    "file:///etc/list.txt": "a Lambda has no such file; put it into S3, or behind https",
    "http://example.com/list.txt": ANYONE,
    "HTTP://example.com/list.txt": ANYONE,
    "s3://lists/list": NO_FORMAT,
    "s3://lists/list.xls": NO_FORMAT,
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_place_that_is_refused(url):
    """A list that a Lambda cannot read, that anyone could write, or whose name does not say what it is, is refused."""
    deployed = SimpleNamespace(data={"mode": {}})
    with pytest.raises(ValueError, match="key") as raised:
        check_source("key", {"url": url}, deployed)
    assert str(raised.value) == f"key {url!r}: {REFUSED[url]}"
    if REFUSED[url] == NO_FORMAT:
        check_source("key", {"url": url, "format": "txt"}, deployed)


@pytest.mark.parametrize(
    "url", ["s3://lists/list.txt", "https://example.com/list.csv", "HTTPS://example.com/a.json", "s3://a/b.csv2dict"]
)
def test_a_place_that_is_accepted(url):
    """A list in S3 or behind https is accepted everywhere, and a file where the policy is run on a machine."""
    check_source("key", {"url": url}, SimpleNamespace(data={"mode": {}}))
    check_source("key", {"url": "file:///etc/list.txt"}, SimpleNamespace(data={}))
    assert scheme_of(url) == url.lower().partition(":")[0]


def test_a_list_that_cannot_be_read(tmp_path):
    """The error names the key, the place and the reason."""
    manager = loaded({"name": "a-policy", "resource": "aws.security-group"}, tmp_path).resource_manager
    url = (tmp_path / "list.txt").as_uri()
    with pytest.raises(ValueError, match=f"^key {url} cannot be read: .*No such file"):
        fresh_values("key", {"url": url}, manager, set)
    (tmp_path / "list.txt").write_text("a\nb\n")
    assert fresh_values("key", {"url": url}, manager, set) == {"a", "b"}
