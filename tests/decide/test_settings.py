import re

import pytest

from c7n_ingress.decide.settings import DEFAULTS, check, filled
from tests.support.cases import cases

CASES = cases("settings")


@pytest.mark.parametrize("settings", CASES["taken"], ids=str)
def test_settings_that_a_run_can_use(settings):
    """Settings that a run can use are taken."""
    check(settings, complete="group" not in settings)


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["says"])
def test_settings_that_no_run_can_use(case):
    """Settings that no run can use are refused with one line that names the key, the value and the fix."""
    with pytest.raises(ValueError, match=re.escape(case["says"])) as refused:
        check(case["settings"])
    assert "\n" not in str(refused.value)


def test_the_defaults():
    """A variable that no file has filled counts as its default; any other value stays as it is."""
    assert {key: filled(f"{{{key}}}") for key in DEFAULTS} == dict(DEFAULTS)
    for value in ("{authorized}", "{other}", "{at-most}s", [1], 3, "text", None):
        assert filled(value) == value


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"only": None, "authorized": None}, {"authorized": None}),
        ({"only": "{only}", "preview": "{preview}"}, {"preview": False}),
        ({"more": [{"exemptions-from": "{exemptions-from}", "ports": "{public-ports}"}]}, {"more": [{"ports": []}]}),
        ({"authorized": "{authorized}", "authorized-from": "{authorized-from}"}, {"authorized": "{authorized}"}),
        ({"authorized": "{authorized}", "authorized-from": {"url": "u"}}, {"authorized-from": {"url": "u"}}),
        (
            {"authorized": ["vpc"], "authorized-from": {"url": "u"}},
            {"authorized": ["vpc"], "authorized-from": {"url": "u"}},
        ),
        ({"authorized": ["vpc"], "authorized-from": None}, {"authorized": ["vpc"]}),
        ({"queue": None}, {"queue": None}),
    ],
    ids=str,
)
def test_what_nothing_has_filled(data, expected):
    """What is optional is left out where nothing fills it; the networks stay, unless a list names them."""
    assert filled(data) == expected


def test_a_file_without_networks():
    """Some uses of the settings need no networks, but no use takes them from two places."""
    check({}, complete=False)
    with pytest.raises(ValueError, match="name the authorized networks by either"):
        check({"authorized": ["vpc"], "authorized-from": {"url": "s3://a/b"}}, complete=False)


ALL = (
    "authorized, authorized-from, exemptions-from, only, public-ports, tell, queue, exemptions, at-most, notice-hours, "
)
ALL += "undo-days, preview"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (None, "the file is empty: name your networks under authorized"),
        ([], f"[] is not a mapping of {ALL}"),
        ({"authorised": ["vpc"]}, "'authorised' is not a setting: write authorized"),
        ({"zzz": 1}, f"'zzz' is not a setting: write {ALL}"),
        (
            {"authorized": ["vpc"], "exemptions": [{"group": "a"}], "exemptions-from": {"url": "u"}},
            "keep the exemptions either in exemptions or in exemptions-from",
        ),
        ({}, "name the authorized networks by either authorized or authorized-from"),
        ({"authorized": ["vpc"], "preview": 1}, "preview 1 is not true or false"),
        (
            {"authorized": ["vpc"], "queue": "{queue}"},
            "queue '{queue}': nothing fills {queue} here: write the value itself",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_the_settings(settings, says):
    """A refusal names the key, the value and the fix."""
    with pytest.raises(ValueError, match=r".") as refused:
        check(settings)
    assert str(refused.value) == says
