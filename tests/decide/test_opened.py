"""Who opened a port, in one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.opened import MOST_CHARACTERS, OWNER_KEYS, call_in, opened_by, owner_event, quoted
from tests.support.cases import cases

NAMED = [case for case in cases("open-ingress-cloudtrail")["events"] if "says" in case]
TIME = "2026-01-31T12:34:56Z"
REPLACED = {"rule": "sgr-1", "was": "0.0.0.0/0"}


def said(identity, **more):
    """Return the sentence about a call of somebody."""
    return opened_by({"eventTime": TIME, "userIdentity": identity} | more, {"sgr-1"}, [REPLACED])


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case["name"])
def test_who(case):
    """The sentence names the caller, the time, the address and the tool, and says who only changed the group."""
    touched = {"sgr-1" if case["says"].startswith("Opened") else "sgr-2"}
    assert opened_by({"eventTime": TIME} | case["detail"], touched, [REPLACED]) == case["says"]


@pytest.mark.parametrize(
    ("identity", "who"),
    [
        ({"type": "AWSAccount", "principalId": "AIDA1"}, "AIDA1 (AWSAccount)"),
        ({"type": "AWSAccount"}, "a AWSAccount"),
        ({"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/people/alice"}, "alice (IAM user)"),
        ({"type": "IAMUser", "userName": "alice", "arn": "arn:aws:iam::1:user/bob"}, "alice (IAM user)"),
        ({"type": "AssumedRole"}, 'the role , in a session called ""'),
    ],
)
def test_a_caller_of_whom_little_is_known(identity, who):
    """The sentence has what the event says, whatever that is."""
    assert said(identity) == f"Opened by {who} on 2026-01-31 at 12:34 UTC."


def test_what_the_action_added_was_not_opened():
    """A rule that replaced nothing is none that the caller opened."""
    call = {"eventTime": TIME, "userIdentity": {"type": "Root"}}
    added = {"rule": "sgr-1", "was": None}
    assert opened_by(call, {"sgr-1"}, [added]).startswith("Changed by the root user")
    assert opened_by(call, {"sgr-1"}, [added, REPLACED]).startswith("Opened by the root user")
    assert opened_by(call, {"sgr-1"}, []).startswith("Changed by the root user")


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case["name"])
def test_the_owner(case):
    """The event for c7n-mailer has of the caller what it looks for, and nothing else; there is none for a service."""
    identity = case["detail"]["userIdentity"]
    event = owner_event(case["detail"])
    if identity["type"] == "AWSService":
        assert event is None
    else:
        kept = {key: value for key, value in identity.items() if key in OWNER_KEYS}
        assert event == {"detail": {"userIdentity": kept}}


@pytest.mark.parametrize("event", [None, {}, {"detail": None}, {"detail": []}, {"detail": {"userIdentity": "alice"}}])
def test_an_event_of_no_call(event):
    """An event without a caller is of no call."""
    assert call_in(event) is None


def test_an_event_of_a_call():
    """An event with a caller is of a call."""
    assert call_in({"detail": {"userIdentity": {}}}) == {"userIdentity": {}}


@given(st.text(max_size=2 * MOST_CHARACTERS))
def test_words_that_the_caller_chose(text):
    """They are shown in quotes, and cannot end the quotes, be markup, or be longer than a line has room for."""
    shown = quoted(text)
    assert (shown[0], shown[-1]) == ('"', '"')
    inside = shown[1:-1]
    assert inside.isprintable()
    assert not set(inside) & set('"<>')
    assert len(inside) == min(len(text), MOST_CHARACTERS)
    assert inside.endswith("…") or len(text) <= MOST_CHARACTERS
    assert all(a in (b, "?") for a, b in zip(inside[: MOST_CHARACTERS - 1], text, strict=False))


def test_harmless_words_are_shown_as_they_are():
    """Letters of any script, spaces and signs are shown; what would end the quotes is not."""
    assert quoted("XX Terraform/1.0 (é)") == '"XX Terraform/1.0 (é)"'
    assert quoted('a"<b>\n') == '"a??b??"'
