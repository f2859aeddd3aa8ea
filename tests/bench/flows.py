"""Ten million lines of flow logs, to the clients that would be blocked: beside a pass of awk; DuckDB beside Polars.

python -m tests.bench.flows ours flows.log      # what is timed, in a process of its own
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from c7n_ingress.decide.rules import Traffic, traffic_arguments
from c7n_ingress_tools.rehearsal import clients, flows, progress
from c7n_ingress_tools.rehearsal.account import Account
from c7n_ingress_tools.report import terminal
from tests.bench.table import Row

if TYPE_CHECKING:  # the processes that are measured load no embedded AWS
    from c7n_ingress_tools.embedded_aws.server import Cloud

LINES = 10_000_000
AWK = '$13 == "ACCEPT" { bytes[$4] += $10 } END { for (each in bytes) number++; print number }'
LIMIT = 1000 * 1000 * 1000  # what flows.MEMORY says
GROUPS, INTERFACES = 10, 200

# A day of 200 interfaces and 50,000 sources: half of the lines are answers. Of the others, six in ten go to 443, one in
# ten to 22, the rest to any port; one in seven is turned away.
TRAFFIC = """
copy (
    select unnest([
        concat_ws(' ', 2, '123456789012', interface, source, target, sport, port, 6, packets, packets * size, start,
            start + 59, action, 'OK'),
        concat_ws(' ', 2, '123456789012', interface, target, source, port, sport, 6, packets, packets * size * 3, start,
            start + 59, action, 'OK')
    ]) as line
    from (
        select
            format('eni-{:017x}', n) as interface, format('10.20.{}.{}', n // 100, n % 100 + 5) as target,
            format('198.{}.{}.{}', 18 + c % 2, c // 2 % 256, c // 512) as source,
            1024 + hash(i, 3) % 60000 as sport,
            case when p < 60 then 443 when p < 70 then 22 else hash(i, 5) % 65536 end as port,
            1 + hash(i, 6) % 40 as packets, 40 + hash(i, 7) % 900 as size, 1795521600 + i * 86400 // $lines as start,
            if(hash(i, 8) % 100 < 85, 'ACCEPT', 'REJECT') as action
        from (
            select i, hash(i, 1) % 200 as n, hash(i, 2) % 50000 as c, hash(i, 4) % 100 as p
            from range($lines // 2) numbers(i)
        )
    )
) to '{path}' (format csv, header false, quote '', delimiter '|')
"""


@dataclass
class Finished:
    """A command that has ended well."""

    seconds: float
    processor: float
    """Seconds of processors, which other work on the machine does not lengthen."""
    bytes: int
    """The most memory that it took."""
    said: str


def measure(_: Cloud) -> list[Row]:
    """Write the lines, then time each way to read them."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "flows.log")
        write(path, LINES)
        awk = timed("awk", AWK, path)
        ours = timed(sys.executable, "-m", __name__, "ours", path)
        engines = {each: timed(sys.executable, "-m", __name__, each, path) for each in ("duckdb", "polars")}
    assert engines["duckdb"].said == engines["polars"].said, engines
    rate = f"{LINES / ours.seconds:,.0f} lines a second"
    duck, polars = engines["duckdb"], engines["polars"]
    return [
        Row(f"{LINES:,} lines, to the clients that would be blocked", "awk, one pass", 6, *against(ours, awk, rate)),
        Row("memory of that", "DuckDB's limit", 1.2, ours.bytes / LIMIT, f"{ours.bytes / 1e6:,.0f} MB"),
        Row("DuckDB: each record once, by connection", "Polars", None, *against(duck, polars, "")),
        Row(
            "memory of that",
            "Polars",
            None,
            duck.bytes / polars.bytes,
            f"{duck.bytes / 1e6:,.0f} MB : {polars.bytes / 1e6:,.0f} MB",
        ),
    ]


def against(ours: Finished, theirs: Finished, more: str) -> tuple[float, str]:
    """Return the ratio of two times, and the times."""
    figures = (
        f"{ours.seconds:.1f} s : {theirs.seconds:.1f} s, processors {ours.processor:.1f} s : {theirs.processor:.1f} s"
    )
    return ours.seconds / theirs.seconds, f"{figures}, {more}" if more else figures


def timed(*command: object) -> Finished:
    """Run a command to its end."""
    start = time.perf_counter()
    process = subprocess.Popen([str(each) for each in command], stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return Finished(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, said)


def write(path: Path, lines: int) -> None:
    """Write so many lines of the default format, without a header."""
    with duckdb.connect() as connection:
        connection.execute(TRAFFIC.replace("$lines", str(lines)).replace("{path}", str(path)))


def ours(path: Path) -> None:
    """Return who came in, as the demo does."""
    there = [
        {
            "NetworkInterfaceId": f"eni-{number:017x}",
            "Groups": [{"GroupId": f"sg-{number % GROUPS:08x}"}],
            "PrivateIpAddress": f"10.20.{number // 100}.{number % 100 + 5}",
        }
        for number in range(INTERFACES)
    ]
    traffic = [("-1", -1, -1), ("tcp", 22, 22), ("tcp", 443, 443), ("tcp", 8000, 9000), ("udp", 53, 53)]
    records = [
        {
            "group": f"sg-{number:08x}",
            "group_name": f"bench-{number}",
            "traffic": traffic_arguments(Traffic(*traffic[number % 5])),
            "was": "0.0.0.0/0",
            "now": "203.0.113.0/24",
        }
        for number in range(GROUPS)
    ]
    with flows.read([path], progress.Progress(terminal.console())) as log:
        reported = clients.who_came_in(log, Account([], there), records)
    print([(rule.traffic, seen.blocked, seen.stay, seen.scanners) for rule, seen in reported.rules.items()])


FIELDS = [*flows.DEFAULT[2:7], "protocol", "action"]


def by_duckdb(path: Path) -> None:
    """Read each record once, and sum up connections."""
    columns = {each: flows.TYPES.get(each, "VARCHAR") for each in flows.DEFAULT} | dict.fromkeys(
        ("action", "log-status"), "VARCHAR"
    )
    key = ", ".join(f'"{each}"' for each in FIELDS)
    with tempfile.TemporaryDirectory() as temporary:
        config = {"memory_limit": flows.MEMORY, "temp_directory": temporary, "preserve_insertion_order": False}
        with duckdb.connect(config=config) as connection:
            found = connection.execute(
                f"""
                select count(*), sum(bytes) from (
                    select {key}, sum(bytes) as bytes, sum(packets), min("start"), max("end")
                    from (select distinct * exclude (version, "account-id") from read_csv(?, delim=' ', quote='',
                        escape='', header=false, auto_detect=false, columns={columns}, nullstr='-', ignore_errors=true,
                        store_rejects=true))
                    group by {key}
                )
                """,
                [str(path)],
            ).fetchall()
    print([tuple(map(int, row)) for row in found])


def by_polars(path: Path) -> None:
    """Do the same."""
    import polars as pl

    numbers = {"srcport": pl.UInt16, "dstport": pl.UInt16, "protocol": pl.UInt8}
    numbers |= dict.fromkeys(("packets", "bytes", "start", "end"), pl.Int64)
    schema = {each: numbers.get(each, pl.String) for each in flows.DEFAULT}
    lines = pl.scan_csv(
        path, separator=" ", quote_char=None, has_header=False, schema=schema, null_values="-", ignore_errors=True
    )
    connections = (
        lines.drop("version", "account-id")
        .unique()
        .group_by(FIELDS)
        .agg(pl.sum("bytes"), pl.sum("packets"), pl.min("start"), pl.max("end"))
    )
    print(connections.select(pl.len(), pl.sum("bytes")).collect(engine="streaming").rows())


if __name__ == "__main__":
    {"ours": ours, "duckdb": by_duckdb, "polars": by_polars}[sys.argv[1]](Path(sys.argv[2]))
