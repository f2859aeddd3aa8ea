import subprocess
import sys
from importlib import import_module

import pytest

from tests.bench import results, table
from tests.bench.__main__ import PARTS
from tests.bench.table import Row
from tests.support.embedded import ROOT

BEFORE = {
    "functions": [
        Row("cold start", "recipe", 1.2, 1.6, "710 ms : 447 ms"),
        Row("calls", "count", 5, 5, ""),
        Row("gone", "x", None, 2, ""),
    ]
}
NOW = {
    "functions": [Row("cold start", "recipe", 1.2, 0.8, "360 ms : 447 ms"), Row("calls", "count", 5, 6, "")],
    "sweep": [Row("new", "y", None, 3, "")],
}


@pytest.fixture
def printed(capsys, monkeypatch):
    """Return what is printed, as lists of words."""
    monkeypatch.setattr(table, "CONSOLE", table.Console(width=140))
    return lambda: [line.split() for line in capsys.readouterr().out.splitlines()]


def bench(*arguments):
    """Type the bench's command."""
    python = [sys.executable, "-m", "tests.bench", *map(str, arguments)]
    return subprocess.run(python, cwd=ROOT, capture_output=True, text=True, check=False)


def test_figures_are_read_as_they_were_written(tmp_path):
    """What a run has measured can be read again from its file."""
    results.write(tmp_path / "bench.json", NOW)
    assert results.read(tmp_path / "bench.json") == NOW


def test_two_runs_are_compared(tmp_path):
    """The command prints each figure as it was and as it is, by how much it changed, and whether its target is met."""
    for name, run in (("old", BEFORE), ("new", NOW)):
        results.write(tmp_path / f"{name}.json", run)
    done = bench("--against", tmp_path / "old.json", tmp_path / "new.json")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        ["functions", "cold", "start", "recipe", "1.6", "0.8", "-50%", "<=", "1.2", "met"],
        ["functions", "calls", "count", "5", "6", "+20%", "<=", "5", "MISSED"],
        ["functions", "gone", "x", "2", "-"],
        ["sweep", "new", "y", "-", "3"],
    ]


def test_the_last_table_has_every_figure(printed):
    """One table at the end has the figures of all parts, and says how many targets are met."""
    table.show_all(NOW)
    assert printed()[2:] == [
        ["functions", "cold", "start", "recipe", "<=", "1.2", "0.8", "met"],
        ["functions", "calls", "count", "<=", "5", "6", "MISSED"],
        ["sweep", "new", "y", "3"],
        ["1", "targets", "met,", "1", "missed"],
    ]


SMALL = {
    "accounts": {"SIZES": (1, 2)},
    "closing": {"COLD": 2, "WARM": 2},
    "decide": {"MOST": 200, "FEW": 100, "ROUNDS": 1},
    "exemptions": {"ENTRIES": 10, "ROUNDS": 1, "SIZES": (20,)},
    "flows": {"LINES": 2_000},
    "functions": {"COLD": 2, "WARM": 2},
    "rehearsal": {"SIZE": 20, "ROUNDS": 1},
    "report": {"GROUPS": 100},
    "sweep": {"SIZES": (20, 40), "ROUNDS": 1},
    "throttles": {"SWEPT": 55, "EVENTS": 4, "PROCESSES": 2},
}


@pytest.mark.soak
@pytest.mark.parametrize("name", PARTS)
def test_each_part_measures(cloud, monkeypatch, name):
    """Each part of the bench still runs with the policies as they are, at its smallest."""
    part = import_module(f"tests.bench.{name}")
    for size, number in SMALL[name].items():
        monkeypatch.setattr(part, size, number)
    assert part.measure(cloud)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        '{"parts": {}}',
        '{"c7n-ingress-bench": []}',
        '{"c7n-ingress-bench": {"sweep": [{"what": "x"}]}}',
        '{"c7n-ingress-bench": {"sweep": [{"what": "x", "against": "", "target": 1, "value": "a", "seen": ""}]}}',
        '{"c7n-ingress-bench": {"sweep": 1}}',
    ],
)
def test_a_file_that_is_not_the_benchs(tmp_path, content):
    """What the bench has not written is refused in one line, which names the file and the fix."""
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as refused:
        results.read(path)
    assert str(refused.value).startswith(f"{path} holds no figures of the bench (")
    assert str(refused.value).endswith("): give a file that `python -m tests.bench` has written")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sweeep"], f"there is no part sweeep: choose from {', '.join(PARTS)}"),
        (["--against", "a.json", "b.json", "c.json"], "--against compares two files; c.json is one too many"),
        (
            ["--json", "no/such/bench.json"],
            "--json no/such/bench.json: there is no folder no/such",
        ),
    ],
)
def test_a_command_that_is_not_understood(arguments, says):
    """A command that cannot be done ends at once, and says what can be."""
    done = bench(*arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"python -m tests.bench: error: {says}"
