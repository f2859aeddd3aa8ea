"""Change decide/ and aws/ in one place at a time, and count the changes that no test notices.

`make mutants`, or `python -m tests.mutants decide aws/apply` for some packages or modules. What tests notice is kept in
.mutants/; what they do not is measured again, as is what has changed. `--again` forgets all. The command fails
if tests notice less than 90 % of the changes to a package. `--sample 150` measures 150 random changes of each package:
what it finds about all of them is in an interval, printed beside it.
"""

import json
import math
import os
import random
import shutil
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".mutants"
LINKED = ("README.md", "actions", "docs", "mode", "policies", "pyproject.toml", "settings.yml", "tests")
PACKAGES = ("decide", "aws")
LISTED = ROOT / "tests" / "mutants" / "survivors.yml"

WANTED = 0.9
SECONDS = 20  # of tests for each change
NOTICED = {"killed", "timeout", "segfault", "caught by type check"}


def main() -> None:
    """Read the command line, make the changes in a folder apart, and report what was noticed."""
    parser = ArgumentParser("python -m tests.mutants", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", default=PACKAGES, help="decide, aws/apply; default: all")
    parser.add_argument("--again", action="store_true", help="forget what was measured")
    parser.add_argument("--report", action="store_true", help="measure nothing: report what was measured")
    parser.add_argument(
        "--tests", nargs="+", metavar="PATH", help="run no other tests; what other tests notice survives"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="N random changes of each package; default: all")
    parser.add_argument("--seed", default="0", metavar="TEXT", help="of the sample; default: %(default)s")
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, metavar="N", help="of tests for each change; default: %(default)s"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count(), metavar="N", help="default: %(default)s")
    options = parser.parse_args()
    if unknown := [name for name in options.names if not modules(name)]:
        parser.error(f"there is no module {', '.join(unknown)} in {ROOT / 'actions' / 'c7n_ingress'}")
    if Path.cwd() != FOLDER:
        start_apart(again=options.again)
    if not options.report:
        measure(options)
    sys.exit(report(options))


def modules(name: str) -> list[str]:
    """Return the modules of a package, or the one of this name, as `decide/plan`."""
    package = ROOT / "actions" / "c7n_ingress"
    paths = [package / f"{name}.py"] if "/" in name else sorted((package / name).glob("*.py"))
    found = [path.relative_to(package).with_suffix("").as_posix() for path in paths if path.exists()]
    return [each for each in found if each.partition("/")[0] in PACKAGES]


def start_apart(*, again: bool) -> None:
    """Start this command again in a folder where the package that Python imports is the changed copy.

    Python imports `c7n_ingress` when it starts (docs/c7n.md), so the copy is on the path before that.
    """
    if again:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    for name in LINKED:
        if not (FOLDER / name).is_symlink():
            (FOLDER / name).symlink_to(ROOT / name)
    shutil.rmtree(FOLDER / "mutants" / "tests", ignore_errors=True)  # a test that has moved would be there twice
    if not (link := FOLDER / "c7n_ingress").is_symlink():
        link.symlink_to(ROOT / "actions" / "c7n_ingress")
    if not (copy := FOLDER / "mutants" / "c7n_ingress").exists():
        shutil.copytree(link, copy, ignore=shutil.ignore_patterns("__pycache__"))  # with times, which mutmut compares
    os.chdir(FOLDER)
    path = os.pathsep.join(filter(None, [str(copy.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "tests.mutants", *sys.argv[1:]]
    os.execve(sys.executable, [each for each in command if each != "--again"], {**os.environ, "PYTHONPATH": path})


def measure(options) -> None:
    """Make the changes, and run the tests for each."""
    from mutmut import __main__ as mutmut

    from tests.mutants.runner import Runner

    if options.tests:
        mutmut.config().pytest_add_cli_args_test_selection = options.tests
    mutmut.get_mutant_runner = Runner
    collect = mutmut.collect_or_load_stats

    def collect_and_choose(*arguments, **more):
        collect(*arguments, **more)
        reaching, durations = mutmut.state().tests_by_mangled_function_name, mutmut.state().duration_by_test
        breadth = Counter(test for of_function in reaching.values() for test in of_function)
        for function in reaching:
            module = function.rpartition(".")[0].rpartition(".")[2]
            reaching[function] = closest(reaching[function], module, breadth, durations, options.seconds)

    find, wanted = mutmut.collect_source_file_mutation_data, {}

    def find_unnoticed(**more):
        changes, by_path = find(**more)
        wanted.update(chosen(options))
        left = [each for each in changes if each[1] in wanted and mutmut.status_by_exit_code[each[2]] not in NOTICED]
        return left, by_path

    mutmut.collect_or_load_stats = collect_and_choose
    mutmut.collect_source_file_mutation_data = find_unnoticed
    if options.sample:  # in random order, so what was measured when somebody stops it is a sample, too
        mutmut.estimated_worst_case_time = wanted.get
    mutmut._run([f"{dotted(each)}.x*" for name in options.names for each in modules(name)], options.processes)


def chosen(options) -> dict[str, int]:
    """Return the changes to measure, each with its number in the order: all of them, or a sample of each package."""
    by_package = {package: [] for package in PACKAGES}
    for module in [each for name in options.names for each in modules(name)]:
        by_package[module.partition("/")[0]] += codes(module)
    if options.sample:
        for package, changes in by_package.items():
            changes.sort()
            random.Random(f"{options.seed} {package}").shuffle(changes)
            del changes[options.sample :]
    return {change: number for changes in by_package.values() for number, change in enumerate(changes)}


def codes(module: str) -> dict[str, int | None]:
    """Return the changes of a module, each with the exit code of its tests, or None if they have not run."""
    meta = Path("mutants") / "c7n_ingress" / f"{module}.py.meta"
    return json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}


def closest(tests, module: str, breadth, durations, seconds: float) -> list[str]:
    """Return tests that together take no longer than this, or the quickest one: those that look most closely, first.

    Tests in a file of the module's name come first, then those that reach few functions: they notice more in each.
    """
    own = f"/test_{module}.py::"
    found, left = [], seconds
    for test in sorted(tests, key=lambda test: (own not in test, breadth[test], durations.get(test, 0), test)):
        if durations.get(test, 0) <= left:
            found.append(test)
            left -= durations.get(test, 0)
    return found or sorted(tests, key=lambda test: durations.get(test, 0))[:1]


def dotted(module: str) -> str:
    """Return the dotted name of a module, as `c7n_ingress.decide.plan`."""
    return f"c7n_ingress.{module.replace('/', '.')}"


def interval(part: int, whole: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share that a random sample has."""
    z, share = 1.96, part / whole
    middle, half = share + z * z / (2 * whole), z * math.sqrt(share * (1 - share) / whole + (z / (2 * whole)) ** 2)
    return (middle - half) / (1 + z * z / whole), (middle + half) / (1 + z * z / whole)


def report(options) -> int:
    """Print what was noticed, by module, and each survivor that is not listed; return the exit code."""
    from mutmut.stats import status_by_exit_code

    listed = yaml.safe_load(LISTED.read_text()) or {}
    totals, new, wanted = Counter(), [], chosen(options)
    for module in [each for name in options.names for each in modules(name)]:
        path = f"c7n_ingress/{module}.py"
        of_module = {name: code for name, code in codes(module).items() if name in wanted}
        states = {name: status_by_exit_code[code] for name, code in of_module.items() if code is not None}
        survivors = [name for name, state in states.items() if state not in NOTICED]
        package = module.partition("/")[0]
        totals[package, "all"] += len(states)
        totals[package, "noticed"] += len(states) - len(survivors)
        totals[package, "not measured"] += len(of_module) - len(states)
        if of_module:
            share = f"{1 - len(survivors) / len(states):.0%}" if states else "-"
            print(f"{module:24} {len(states):5} of {len(of_module):4} measured {len(survivors):5} survived {share:>5}")
        known = {(each["function"], each["now"]) for each in listed.get(module, [])}
        new += [each for each in (described(name, module, path) for name in survivors) if each[1:] not in known]
    if new:
        print(f"\nNot listed in {LISTED.relative_to(ROOT)}:")
    for module, function, now in new:
        print(f"  {module}: {{function: {function}, now: {json.dumps(now)}, because: }}")
    print()
    code = 0
    for package in PACKAGES:
        if every := totals[package, "all"]:
            share = totals[package, "noticed"] / every
            code |= share < WANTED
            left = totals[package, "not measured"]
            print(f"{package}: {share:.1%} of {every} changes noticed, {WANTED:.0%} wanted; {left} not measured")
            if options.sample:
                low, high = interval(totals[package, "noticed"], every)
                print(f"  so of all changes, {low:.1%} to {high:.1%} (95 % interval)")
    return code


def described(name: str, module: str, path: str) -> tuple[str, str, str]:
    """Return a change as its module, its function, and the changed lines."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    function, of = orig_function_and_class_names_from_key(name)
    lines = get_diff_for_mutant(name, path=path).splitlines()
    now = " ".join(line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++"))
    return module, f"{of}.{function}" if of else function, now


if __name__ == "__main__":
    main()
