"""The command that counts the changed code that tests notice: what it chooses, and what it lists."""

import subprocess
import sys

import pytest
import yaml

from tests.mutants.__main__ import LISTED, PACKAGES, SECONDS, closest, interval, modules
from tests.support.embedded import ROOT


def test_the_closest_tests_run():
    """A change is judged by its module's own tests, then by those that reach few functions, and by one at least."""
    durations = {"slow": SECONDS * 2, "quick": SECONDS * 0.4, "quicker": SECONDS * 0.3, "third": SECONDS * 0.5}
    durations["tests/actions/test_run.py::own"] = SECONDS * 0.2
    breadth = {"slow": 1, "third": 2, "quick": 3, "quicker": 3, "tests/actions/test_run.py::own": 9}
    *others, own = durations
    assert closest(others, "run", breadth, durations, SECONDS) == ["third", "quicker"]
    assert closest([*others, own], "run", breadth, durations, SECONDS) == [own, "third", "quicker"]
    assert closest({"quick", "quicker"}, "run", breadth, durations, SECONDS) == ["quicker", "quick"]
    assert closest({"slow"}, "run", breadth, durations, SECONDS) == ["slow"]


def test_the_interval_of_a_share():
    """A sample's share has an interval that is not wider than 0 to 1, and is narrower for a larger sample."""
    low, high = interval(45, 50)
    assert (round(low, 3), round(high, 3)) == (0.786, 0.957)
    narrow_low, narrow_high = interval(450, 500)
    assert low < narrow_low < 0.9 < narrow_high < high
    assert interval(10, 10)[1] == pytest.approx(1)
    assert interval(0, 10)[0] == pytest.approx(0)


def test_the_survivors_that_are_listed():
    """Each survivor names a function of its module, and has a reason."""
    for module, survivors in (yaml.safe_load(LISTED.read_text()) or {}).items():
        assert modules(module) == [module]
        text = (ROOT / "actions" / "c7n_ingress" / f"{module}.py").read_text()
        for each in survivors:
            assert each.keys() == {"function", "now", "because"}
            assert all(each.values())
            assert f"def {each['function'].rpartition('.')[2]}(" in text


def test_every_module_has_a_name():
    """A package is all its modules, and a module is named beside its package."""
    assert "decide/plan" in modules("decide")
    assert modules("aws/apply") == ["aws/apply"]
    assert [modules(name) for name in ("filters", "decide/nothing", "filters/exempt")] == [[], [], []]
    assert all(modules(name) for name in PACKAGES)


@pytest.mark.parametrize("name", ["decide/nothing", "filters"])
def test_a_name_that_is_none(name):
    """A module that does not exist is refused in one line, before anything is changed."""
    command = [sys.executable, "-m", "tests.mutants", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"error: there is no module {name} in " in done.stderr.splitlines()[-1]
