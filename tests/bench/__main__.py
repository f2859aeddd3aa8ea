"""Print what the pack costs, as ratios of one run: `make bench`, or `python -m tests.bench functions`."""

import sys

from mode.local.server import serving
from tests.bench import accounts, flows, functions, report, sweep, throttles
from tests.bench.table import show

PARTS = {part.__name__.rpartition(".")[2]: part for part in (functions, sweep, throttles, accounts, report, flows)}

for name in sys.argv[1:] or PARTS:
    with serving() as cloud:
        show(name, PARTS[name].measure(cloud))
