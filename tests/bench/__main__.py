"""Print what the pack costs, as ratios of one run, and hold two runs against each other.

`make bench`, or `python -m tests.bench functions sweep` for some of its parts: each part's table as soon as it is
measured, then one of all figures against their targets. They are written to bench.json, or where `--json` says.
`python -m tests.bench --against old.json [new.json]` measures nothing: it prints what was before, and what is now.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module
from pathlib import Path

from tests.bench import results, table

PARTS = (
    "decide",
    "functions",
    "closing",
    "sweep",
    "exemptions",
    "throttles",
    "accounts",
    "rehearsal",
    "report",
    "flows",
)


def main() -> None:
    """Read the command line, and measure or compare."""
    parser = ArgumentParser("python -m tests.bench", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; with --against, the newer file"
    )
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE", help="default: %(default)s")
    parser.add_argument("--against", type=Path, metavar="OLD", help="compare a file with the newer one")
    options = parser.parse_args()
    if options.against:
        if len(options.names) > 1:
            parser.error(f"--against compares two files; {options.names[1]} is one too many")
        newer = Path(options.names[0]) if options.names else options.json
        table.show_change(results.read(options.against), results.read(newer))
        return
    if unknown := set(options.names) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    if not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.parent}")
    measure(options.names or PARTS, options.json)


def measure(names, path: Path) -> None:
    """Measure parts one after another, and print and write what came out."""
    from c7n_ingress_tools.embedded_aws.server import serving

    measured = {}
    for name in names:
        part = import_module(f"tests.bench.{name}")
        with serving() as cloud:
            measured[name] = part.measure(cloud)
        table.show(name, measured[name])
        results.write(path, measured)
    table.show_all(measured)


if __name__ == "__main__":
    main()
