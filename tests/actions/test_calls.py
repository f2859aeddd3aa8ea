"""How AWS is called: all pages, again after throttling, and what its errors mean."""

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from c7n_ingress.aws.calls import DENIED, described, pages, said, why
from c7n_ingress_tools.embedded_aws import logs
from tests.support.embedded import ACCOUNT, aws_error, group_of, load, watched

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}


@pytest.fixture
def watch(cloud):
    """Return a client of EC2 and what it sends, and make a function that is called before each call."""
    session, happens = watched(cloud)
    sent, before = [], []

    def note(params, **_):
        sent.append(params["body"])
        for each in before:
            each(len(sent))

    happens.update({"before-call": {"DescribeSecurityGroups": note}, "after-call": {}})
    return session.client("ec2"), sent, before


def test_the_pages_of_ec2(watch):
    """All pages are read, each once."""
    client, sent, _ = watch
    load([group_of({"name": f"g{number}", "ingress": [SSH]}, number) for number in range(1, 13)])
    found = [each["GroupName"] for each in pages(client, "describe_security_groups", "SecurityGroups", MaxResults=5)]
    assert {f"g{number}" for number in range(1, 13)} <= {*found}
    assert len(found) == len({*found})
    assert len(sent) == 3


def test_the_pages_of_another_service(cloud):
    """Other services call the next page by another name."""
    logs.write(ACCOUNT, "us-east-1", "a-group", "a-stream", list("abcde"))
    client = cloud.session().client("logs")
    events = pages(client, "filter_log_events", "events", logGroupName="a-group", limit=2)
    assert [event["message"] for event in events] == list("abcde")


def test_a_page_that_is_throttled(watch, monkeypatch):
    """A page is asked for again when AWS throttles, and not after any other error."""
    client, sent, before = watch
    monkeypatch.setattr("c7n.utils.time.sleep", lambda _: None)

    def fail(number):
        if number < 3:
            raise aws_error(codes[0])

    before.append(fail)
    codes = ["RequestLimitExceeded"]
    assert list(pages(client, "describe_security_groups", "SecurityGroups"))
    assert len(sent) == 3
    sent.clear()
    codes[:] = ["UnauthorizedOperation"]
    with pytest.raises(ClientError):
        list(pages(client, "describe_security_groups", "SecurityGroups"))
    assert len(sent) == 1


def test_as_many_values_as_a_filter_takes(watch):
    """What exists of any number of ids is read, in as few calls as EC2 allows."""
    client, sent, _ = watch
    load([group_of({"name": f"g{number}", "ingress": [SSH]}, number) for number in (1, 201)])
    ids = [f"sg-{number:017x}" for number in range(1, 202)]
    request = ("describe_security_groups", "SecurityGroups", "group-id", reversed(ids))
    assert [each["GroupName"] for each in described(client, *request)] == ["g1", "g201"]
    asked = [[value for key, value in body.items() if key.startswith("Filter.1.Value")] for body in sent]
    assert asked == [ids[:200], ids[200:]]
    assert {body["MaxResults"] for body in sent} == {1000}
    sent.clear()
    assert [each["GroupName"] for each in described(client, *request[:3], ids[:1], MaxResults=5)] == ["g1"]
    assert [body["MaxResults"] for body in sent] == [5]


@pytest.mark.parametrize("code", sorted(DENIED))
def test_what_is_denied(code):
    """Where AWS denies a call, what to do comes first."""
    denied = aws_error(code, message="You are not authorized to perform this operation.")
    assert said(denied) == (
        "allow it, as the stack does, or find the service control policy that denies it: An error occurred "
        f"({code}) when calling the Call operation: You are not authorized to perform this operation."
    )
    assert why(denied) == code


def test_what_else_fails():
    """Any other error is reported as AWS or botocore words it, and in short by its code or its kind."""
    throttled, unreachable = (
        aws_error("Throttling", message="Rate exceeded"),
        ConnectTimeoutError(endpoint_url="https://ec2"),
    )
    assert said(throttled) == "An error occurred (Throttling) when calling the Call operation: Rate exceeded"
    assert said(unreachable) == 'Connect timeout on endpoint URL: "https://ec2"'
    assert (why(throttled), why(unreachable)) == ("Throttling", "ConnectTimeoutError")
