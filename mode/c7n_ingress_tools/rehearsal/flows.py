"""VPC flow logs from files, read into a table on disk.

    with flows.read([Path("flows.log")], progress) as log:
        log.connection.sql("select sum(bytes) from flows")

Fields, their meaning, `-`, NODATA and SKIPDATA: https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html;
files in S3, gzip and Parquet: https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html.

The engine is DuckDB: its memory does not grow with the files, and it names the file and the line number of each line
that it cannot read (tests/bench/README.md compares it with Polars).
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import duckdb

from c7n_ingress.decide.states import counted
from c7n_ingress_tools.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from c7n_ingress_tools.rehearsal.progress import Progress

DEFAULT = (
    *("version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport"),
    *("protocol", "packets", "bytes", "start", "end", "action", "log-status"),
)
"""The default format. Its files in S3 have a header line, what CloudWatch Logs exports has none."""

TYPES = {
    "srcport": "USMALLINT",
    "dstport": "USMALLINT",
    "protocol": "UTINYINT",
    "packets": "UBIGINT",
    "bytes": "UBIGINT",
    "start": "UINTEGER",
    "end": "UINTEGER",
    "action": "action",
    "log-status": "status",
    "tcp-flags": "UTINYINT",
    "flow-direction": "direction",
}
"""The types of the fields that are read and are no texts; what does not fit makes the line a bad one."""

ENUMS = {"action": ("ACCEPT", "REJECT"), "status": ("OK", "NODATA", "SKIPDATA"), "direction": ("ingress", "egress")}

NEEDED = tuple(each for each in DEFAULT if each not in {"version", "account-id", "log-status"})
"""Without these nobody can say who came in."""

READ = (*NEEDED, "log-status", "tcp-flags", "flow-direction", "pkt-srcaddr", "pkt-dstaddr")
"""What is kept of a record; fields that its format lacks are null. All others are passed over, also tomorrow's."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
"""What CloudWatch Logs writes before each line that it exports to S3."""

WRITE_TEST = "aws-logs-write-test"
"""The file by which CloudWatch Logs tests a bucket before an export.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/S3ExportTasks.html
"""

MEMORY = "1GB"
MOST_BAD, MOST_BAD_SHARE = 10, 0.01
"""A few lines are left out and reported. More mean that the file is something else."""

SHOWN_BAD = 3
FIRST_LINE = 64 * 1024
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"


def refused(where: str | Path, what: str) -> CommandError:
    """Return the error for a file of no flow logs that can be used: which file, which line and what to do."""
    return CommandError(" ".join(f"{where}: {what}".split()))


class Format(NamedTuple):
    """How a file is to be read."""

    kind: Literal["text", "gzip", "parquet"]
    fields: tuple[str, ...]
    header: bool


@dataclass
class Log:
    """What was read: the table `flows`, one row a record, with the columns READ."""

    connection: duckdb.DuckDBPyConnection
    folder: Path
    """Where the database is, and where tables may be put that go with it."""
    records: int = 0
    bad: int = 0
    notes: list[str] = field(default_factory=list)
    """What people should know about the files: lines left out, records that AWS skipped."""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self.connection.execute(query).fetchall()

    def table(self, name: str, columns: dict[str, str], rows: Iterable[Sequence[Any]]) -> None:
        """Make a table of rows, by way of a file: DuckDB takes rows one by one a thousand times more slowly."""
        path = self.folder / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        source = f"read_csv(?, columns={columns}, header=false, auto_detect=false)"
        self.connection.execute(f"create table {name} as from {source}", [str(path)])
        path.unlink()


@contextmanager
def read(paths: Sequence[Path], progress: Progress, folder: Path | None = None) -> Iterator[Log]:
    """Read files of flow logs, or folders of them; the table is deleted when the block ends.

    :param folder: where the table is; else in the system's folder for temporary files, which may be in memory.
    :raises CommandError: there is nothing to read, or the files are not flow logs.
    """
    files = {path: _format(path) for path in _files(paths)}
    formats = {path: found for path, found in files.items() if found}
    if not formats:
        raise refused(next(iter(files)), "the file is empty. Fetch it again, or leave it out")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="flows-", dir=folder) as temporary,
        _connected(Path(temporary)) as connection,
    ):
        log = Log(connection, Path(temporary))
        log.notes += [f"left out {path}: the file is empty" for path, found in files.items() if not found]
        with progress.step("reading flow logs") as step:
            _load(log, formats, step.show)
            step.text = f"read {log.records:,} flow log records from {counted(len(formats), 'file')}"
        yield log


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            logs = [each for each in path.rglob("*") if each.name[0] not in "._" and each.name != WRITE_TEST]
            inside = sorted(each for each in logs if each.is_file())
            if not inside:
                raise refused(path, "there is no file in this folder. Fetch the flow logs into it")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise refused(path, "is neither a file nor a folder. Name a file of VPC flow logs, several, or a folder")
    return list({each.resolve(): each for each in reversed(found)}.values())[::-1]


def _literal(path: Path) -> str:
    """Return a file's name escaped for DuckDB, which reads names as patterns."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path))


def _format(path: Path) -> Format | None:
    """Return how to read a file, by its content and not its name; None for an empty one."""
    try:
        with path.open("rb") as file:
            start = file.read(len(PARQUET))
        if not start:
            return None
        if start == PARQUET:
            return Format("parquet", _parquet_fields(path), header=False)
        packed = start.startswith(GZIP)
        with gzip.open(path) if packed else path.open("rb") as file:
            line = file.readline(FIRST_LINE)
    except (OSError, EOFError, zlib.error) as error:
        raise refused(path, f"cannot be read ({error}). Fetch it again") from error
    return Format("gzip" if packed else "text", *_fields(path, line))


def _fields(path: Path, line: bytes) -> tuple[tuple[str, ...], bool]:
    """Return the fields of a format by a file's first line, and whether this is its header."""
    try:
        words = line.decode("utf-8-sig").split()
    except UnicodeDecodeError:
        raise refused(path, "is neither text in UTF-8, gzip nor Parquet") from None
    if _is_header(words):
        _check(path, words)
        return tuple(words), True
    stamped = bool(words and TIME.fullmatch(words[0]))
    if len(words) - stamped != len(DEFAULT):
        raise refused(
            f"{path}, line 1",
            f"{counted(len(words), 'field')} and no header, where the default format has {len(DEFAULT)}. "
            "Put the names of its fields, as in the flow log's format, into the first line",
        )
    return (("time",) * stamped + DEFAULT), False


def _is_header(words: list[str]) -> bool:
    """Whether a line is a header, or is meant as one: only names, at least one of them AWS's."""
    return bool(set(words) & set(READ)) and all(re.fullmatch(r"[a-z][a-z0-9-]*", word) for word in words)


def _check(path: Path, fields: Sequence[str]) -> None:
    if missing := [each for each in NEEDED if each not in fields]:
        raise refused(
            f"{path}, line 1",
            f"the format lacks {', '.join(missing)}, without which nobody can say who came in. "
            "Use a flow log that has the fields of the default format",
        )


def _parquet_fields(path: Path) -> tuple[str, ...]:
    """Return a Parquet file's fields: AWS writes them with underscores there."""
    try:
        with duckdb.connect() as connection:
            rows = connection.execute("select name from parquet_schema(?) where num_children is null", [_literal(path)])
            fields = tuple(name.replace("_", "-") for (name,) in rows.fetchall())
    except duckdb.Error as error:
        raise refused(path, f"is not a complete Parquet file ({_first_line(error)}). Fetch it again") from error
    _check(path, fields)
    return fields


@contextmanager
def _connected(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "temp_directory": str(folder / "spill"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,  # nothing leaves the machine, and nothing comes
        "autoload_known_extensions": False,
    }
    with duckdb.connect(str(folder / "flows.duckdb"), config=settings) as connection:
        connection.execute("set enable_progress_bar = true; set enable_progress_bar_print = false")
        for name, values in ENUMS.items():
            connection.execute(f"create type {name} as enum {values}")
        columns = ", ".join(f'"{each}" {TYPES.get(each, "VARCHAR")}' for each in READ)
        connection.execute(f"create table flows ({columns})")
        yield connection


def _load(log: Log, formats: dict[Path, Format], done: Callable[[float], None]) -> None:
    """Read the files, those of one format at once."""
    different = dict.fromkeys(formats.values())
    for number, chosen in enumerate(different):
        paths = [path for path, each in formats.items() if each == chosen]
        with watched(log.connection, done, number, len(different)):
            log.records += _insert(log.connection, chosen, paths)
        _take_bad(log, chosen)
    if not log.records:
        raise refused(next(iter(formats)), "holds a header and no record. Was anything logged at that time?")
    ((skipped,),) = log.rows("select count(*) from flows where \"log-status\" = 'SKIPDATA'")
    if skipped:
        log.notes.append(
            f"AWS skipped records in {counted(skipped, 'capture window')} (SKIPDATA): more may have come in"
        )


@contextmanager
def watched(
    connection: duckdb.DuckDBPyConnection, done: Callable[[float], None], number: int, queries: int
) -> Iterator[None]:
    """Report how far one of several queries is, which runs in the block."""
    over = Event()

    def watch() -> None:
        while not over.wait(0.2):
            done((number + max(0.0, connection.query_progress()) / 100) / queries)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _insert(connection: duckdb.DuckDBPyConnection, form: Format, paths: list[Path]) -> int:
    names = {each: each.replace("-", "_") if form.kind == "parquet" else each for each in form.fields}
    chosen = ", ".join(_column(each, names.get(each), form) for each in READ)
    try:
        connection.execute(
            f"insert into flows select {chosen} from {_source(form)}",  # noqa: S608 - names of known fields
            [[_literal(path) for path in paths]],
        )
    except duckdb.Error as error:
        named = [path for path in paths if str(path) in str(error)] or paths
        raise refused(named[0], f"cannot be read ({_first_line(error)}). Fetch it again") from error
    return int(connection.fetchall()[0][0])


def _column(field: str, name: str | None, form: Format) -> str:
    if not name:
        return "null"
    if form.kind == "parquet":  # types and signs for nothing are AWS's own there
        return f"try_cast(nullif(\"{name}\"::VARCHAR, '-') as {TYPES.get(field, 'VARCHAR')})"
    return f'"{name}"'


def _source(form: Format) -> str:
    if form.kind == "parquet":
        return "read_parquet(?, union_by_name=true)"
    columns = {each: TYPES.get(each, "VARCHAR") for each in form.fields}
    packed = "gzip" if form.kind == "gzip" else "none"
    return (
        f"read_csv(?, columns={columns}, header={form.header}, compression='{packed}', delim=' ',"
        " quote='', escape='', nullstr='-', auto_detect=false, ignore_errors=true, store_rejects=true)"
    )


BAD_LINES = """
    select file_path, line, trim(any_value(csv_line), chr(10) || chr(13))
    from reject_errors join reject_scans using (scan_id, file_id) group by file_path, line order by file_path, line
"""


def _take_bad(log: Log, form: Format) -> None:
    """Note the lines that could not be read; headers between joined files are not among them."""
    if form.kind == "parquet":
        return
    bad = []
    for path, line, text in log.rows(BAD_LINES):
        words, where = text.split(" "), f"{path}, line {line}"
        if not _is_header(words):
            bad.append(f"{where}: it does not have the format of the first line: {text:.120}")
        elif tuple(words) != form.fields:
            raise refused(where, "another format begins here. Put what follows into a file of its own")
    log.connection.execute("drop table reject_errors; drop table reject_scans")
    log.bad += len(bad)
    if bad and (not log.records or log.bad > max(MOST_BAD, MOST_BAD_SHARE * (log.records + log.bad))):
        raise CommandError(f"{bad[0]}, and {log.bad - 1:,} more such lines")
    log.notes += [f"left out {each}" for each in bad[:SHOWN_BAD]]
    if (more := len(bad) - SHOWN_BAD) > 0:
        log.notes.append(f"left out {counted(more, 'more line')} like these")


def _first_line(error: Exception) -> str:
    return str(error).partition(os.linesep)[0]
