"""Which events are refused before a policy runs on them. A deployed function refuses the same ones, in other tests."""

import json

import pytest

from c7n_ingress.decide.events import WITHOUT_CONFIGURATION, Here, check_call_event, check_config_event
from tests.support.cases import cases

CASES = cases("bad-input")
HERE = Here("123456789012", "us-east-1")
CALLS = frozenset({"AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules"})
TIME = "2026-01-31T12:34:56Z"
CALL = {
    "eventSource": "ec2.amazonaws.com",
    "eventName": "AuthorizeSecurityGroupIngress",
    "eventTime": TIME,
    "userIdentity": {"type": "IAMUser"},
    "recipientAccountId": HERE.account,
    "awsRegion": HERE.region,
}
ITEM = {
    "resourceType": "AWS::EC2::SecurityGroup",
    "resourceId": "sg-1",
    "configurationItemStatus": "OK",
    "configurationItemCaptureTime": TIME,
    "awsAccountId": HERE.account,
    "awsRegion": HERE.region,
    "configuration": {"groupId": "sg-1", "ownerId": HERE.account},
}


def config_event(item=ITEM, **more):
    """Return an event of AWS Config about an item."""
    return {"resultToken": "token", "invokingEvent": json.dumps({"configurationItem": item})} | more


def put(value, path, new):
    """Return a JSON object with one part replaced, or removed if the new part is an exception."""
    key, *inner = path
    rest = {name: part for name, part in value.items() if name != key}
    if inner:
        return rest | {key: put(value.get(key, {}), inner, new)}
    return rest if new is KeyError else rest | {key: new}


def bad_config_event(case):
    """Return the event of a case of AWS Config."""
    if "event" in case:
        return case["event"]
    (path, new), *_ = case.get("put", {case.get("gone"): KeyError}).items()
    top, *inner = path.split(".")
    good = config_event()
    new = json.dumps(put(json.loads(good[top]), inner, new)) if inner else new
    return put(good, [top], new)


OBJECTS = [case for case in CASES["events"] if isinstance(case.get("event", {}), dict)]
PUTS = [case for case in CASES["calls"] if isinstance(case.get("event", {}).get("detail", {}), dict)]


@pytest.mark.parametrize("case", OBJECTS, ids=lambda case: case["name"])
def test_a_bad_event_of_config(case):
    """An event that is none of AWS Config's about a group is refused with the value and the fix."""
    with pytest.raises(ValueError, match="event") as refused:
        check_config_event(bad_config_event(case), HERE)
    assert case["says"] in str(refused.value)


@pytest.mark.parametrize("status", ["OK", "ResourceDiscovered", *sorted(WITHOUT_CONFIGURATION)])
@pytest.mark.parametrize("gone", [None, "awsAccountId", "awsRegion", "configuration.ownerId"])
def test_a_good_event_of_config(status, gone):
    """An event of this account and region is accepted, also if it leaves them out, or if the group is deleted."""
    item = ITEM | {"configurationItemStatus": status}
    if status in WITHOUT_CONFIGURATION:
        item |= {"configuration": None}
    elif gone:
        item = put(item, gone.split("."), KeyError)
    check_config_event(config_event(item), HERE)


def test_an_item_that_left_the_scope():
    """Such an item needs no configuration, and another one needs it."""
    item = ITEM | {"configuration": None}
    check_config_event(config_event(item, eventLeftScope=True), HERE)
    with pytest.raises(ValueError, match="configuration is None, not an object"):
        check_config_event(config_event(item, eventLeftScope=False), HERE)


@pytest.mark.parametrize("case", PUTS, ids=lambda case: case["name"])
def test_a_bad_event_of_a_call(case):
    """An event that is none of the policy's calls is refused with the value and the fix."""
    bad = case.get("event", {"detail": CALL | case.get("put", {})})
    if case["name"] == "no group":  # where a call names its groups is a matter of the policy's mode
        check_call_event(bad, HERE, CALLS)
        return
    with pytest.raises(ValueError, match="event") as refused:
        check_call_event(bad, HERE, CALLS)
    assert case["says"] in str(refused.value)


@pytest.mark.parametrize("gone", [None, "recipientAccountId", "awsRegion"])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_good_event_of_a_call(name, gone):
    """An event of each of the policy's calls is accepted, also if it leaves out the account or the region."""
    call = {key: value for key, value in CALL.items() if key != gone}
    check_call_event({"detail": call | {"eventName": name}}, HERE, CALLS)


@pytest.mark.parametrize("value", ["x" * 200, ["x"] * 200])
def test_a_long_value(value):
    """A refusal shows the beginning of a value that is long."""
    for bad, check in (
        ({"detail": CALL | {"eventName": value}}, lambda event: check_call_event(event, HERE, CALLS)),
        ({"detail": CALL | {"eventTime": value}}, lambda event: check_call_event(event, HERE, CALLS)),
        ({"detail": CALL | {"awsRegion": value}}, lambda event: check_call_event(event, HERE, CALLS)),
        (config_event(ITEM | {"resourceType": value}), lambda event: check_config_event(event, HERE)),
    ):
        with pytest.raises(ValueError, match="x") as refused:
            check(bad)
        shown = repr(value)
        assert shown[:80] in str(refused.value)
        assert shown[:81] not in str(refused.value)


def test_an_item_that_is_too_large():
    """The refusal of a summary says that the daily policy looks at the group."""
    event = {"resultToken": "t", "invokingEvent": json.dumps({"configurationItemSummary": {}})}
    with pytest.raises(
        ValueError, match=r": its item is too large to be sent, so the daily policy looks at this group\."
    ):
        check_config_event(event, HERE)


def test_the_fix_of_a_refusal():
    """A refusal says how to send an event of the right kind."""
    with pytest.raises(ValueError, match=r".") as refused:
        check_config_event({}, HERE)
    assert str(refused.value) == (
        "this is not an event of AWS Config about a security group: resultToken is None, not text. To send one: aws "
        "configservice start-config-rules-evaluation --config-rule-names NAME"
    )
    with pytest.raises(ValueError, match=r".") as refused:
        check_call_event({}, HERE, CALLS)
    assert str(refused.value) == (
        "this is not an event of CloudTrail about AuthorizeSecurityGroupIngress or ModifySecurityGroupRules: detail is "
        "None, not an object. EventBridge sends one after the call. To try it, open a group that nobody uses: aws ec2 "
        "authorize-security-group-ingress --group-id ID --protocol tcp --port 22 --cidr 0.0.0.0/0"
    )
