"""Tables in files, read in pieces into an Arrow file in the cache that is then mapped, never loaded.

Column of examples: bytes, whatever their encoding, so that one bad row is one bad example. Other columns of a
csv: bytes; of a jsonl: JSON; of a parquet: as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from regraft.core.errors import DataError
from regraft.core.files import atomic_path, cache_folder
from regraft.core.hashing import hash_file, hash_json
from regraft.core.holding import hold

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson")
_ROWS_AT_ONCE = 16384
_VERSION = 1
_BAD_ROWS, _JSON = b"regraft.bad_rows", b"regraft.json"


@dataclass(frozen=True)
class TableFile:
    """A table mapped from disk; rows are counted from 1, and ``bad_rows`` are not among them."""

    table: Any
    path: Path
    json_columns: bool
    bad_rows: tuple[tuple[int, str], ...] = field(default=())

    def column(self, name: str) -> Any:
        """A column other than the examples', with its values read out of JSON where they were kept so."""
        values = self.table.column(name)
        return _out_of_json(values) if self.json_columns else values


def table_column_names(path: Path) -> list[str]:
    """The columns of a table file."""
    kind = _kind(path)
    try:
        if kind == "parquet":
            return list(pa.parquet.read_schema(path).names)
        if kind == "csv":
            with _open_csv(path, None, []) as reader:
                return list(reader.schema.names)
        return list(dict.fromkeys(name for _, row, _ in _first_rows(path) if row for name in row))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} cannot be read as a {path.suffix} table: {error}") from error


def open_table_file(path: Path, item: str, others: Sequence[str]) -> TableFile:
    """The given columns of a csv, tsv, parquet or jsonl file, mapped."""
    key = hash_json([_VERSION, hash_file(path), path.suffix.lower(), item, list(others)])
    store = cache_folder() / "tables" / f"{key}.arrow"
    hold(store)  # nobody makes room by removing what this process maps
    if not store.is_file():
        _convert(path, store, item, others)
    table = mapped_table(store)
    metadata = table.schema.metadata or {}
    bad = tuple((number, reason) for number, reason in json.loads(metadata.get(_BAD_ROWS, b"[]")))
    return TableFile(table, store, _JSON in metadata, bad)


def mapped_table(path: Path) -> Any:
    """An Arrow file as a table whose columns are read from disk when they are used."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"there is no file {path}")
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{path} is not a table that is known: use one of {', '.join(TABLE_SUFFIXES)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    return "csv" if suffix in (".csv", ".tsv") else "parquet" if suffix in (".parquet", ".pq") else "jsonl"


def _convert(path: Path, store: Path, item: str, others: Sequence[str]) -> None:
    bad: list[tuple[int, str]] = []
    names = [item, *(name for name in others if name != item)]
    readers = {"csv": _csv_batches, "parquet": _parquet_batches, "jsonl": _json_batches}
    kind = _kind(path)
    with atomic_path(store) as part:
        batches = readers[kind](path, names, bad)
        try:
            _write(batches, part, bad, json_columns=kind == "jsonl")
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} cannot be read as a {path.suffix} table: {error}") from error


def _write(batches: Iterator[Any], part: Path, bad: list[tuple[int, str]], *, json_columns: bool) -> None:
    """Batches go to disk as they come. The bad rows are known at the end only: where there are any, the
    schema, which holds them, is written by a second, mapped, pass.
    """
    first = next(batches, None)
    if first is None:
        raise DataError("the table has a header but no rows")
    marks = {_JSON: b"1"} if json_columns else {}
    _write_file(part, first.schema.with_metadata(marks), first, batches)
    if bad:
        marks[_BAD_ROWS] = json.dumps(bad).encode()
        again = part.with_suffix(".again")
        with pa.memory_map(str(part)) as mapped:
            rows = iter(pa.ipc.open_file(mapped).read_all().to_batches())
            _write_file(again, first.schema.with_metadata(marks), next(rows, first), rows)
        again.replace(part)


def _write_file(path: Path, schema: Any, first: Any, batches: Iterator[Any]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(first.replace_schema_metadata(schema.metadata))
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def _open_csv(path: Path, names: Sequence[str] | None, bad: list[tuple[int, str]]) -> Any:
    def skip(row: Any) -> str:
        bad.append((row.number - 1, f"{row.actual_columns} columns instead of {row.expected_columns}"))
        return "skip"

    types = {name: pa.binary() for name in names or ()}
    return pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(use_threads=False, encoding=_encoding(path)),
        parse_options=pa.csv.ParseOptions(
            delimiter=_delimiter(path), newlines_in_values=True, invalid_row_handler=skip
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=types, include_columns=list(names or ()), strings_can_be_null=False, check_utf8=False
        ),
    )


def _csv_batches(path: Path, names: Sequence[str], bad: list[tuple[int, str]]) -> Iterator[Any]:
    with _open_csv(path, names, bad) as reader:
        yield from reader


def _encoding(path: Path) -> str:
    with open(path, "rb") as stream:
        return "utf16" if stream.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf8"


def _delimiter(path: Path) -> str:
    """A tab in a tsv; else whichever of comma, semicolon and tab the header has most of."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    with open(path, "rb") as stream:
        header = stream.readline()
    return max(",;\t", key=lambda mark: header.count(mark.encode()))


def _parquet_batches(path: Path, names: Sequence[str], bad: list[tuple[int, str]]) -> Iterator[Any]:
    with pa.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(names)):
            plain = [_plain_column(batch.column(name)) for name in names]
            yield pa.RecordBatch.from_arrays(plain, names=list(names))


def _plain_column(column: Any) -> Any:
    """Strings as bytes, and dictionaries as their values: an Arrow file cannot hold changing dictionaries."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.large_binary())
    return column


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Row number, the object or None, and why it is None."""
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError:
                yield number, None, "not valid UTF-8"
            except (ValueError, RecursionError) as error:
                yield number, None, f"not valid JSON: {error}"
            else:
                fits = isinstance(row, dict)
                yield number, row if fits else None, "" if fits else "not a JSON object"


def _first_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    for count, row in enumerate(_json_rows(path)):
        if count == 1000:
            return
        yield row


def _json_batches(path: Path, names: Sequence[str], bad: list[tuple[int, str]]) -> Iterator[Any]:
    rows: list[dict[str, Any]] = []
    for number, row, reason in _json_rows(path):
        if row is None:
            bad.append((number, reason))
            continue
        rows.append(row)
        if len(rows) == _ROWS_AT_ONCE:
            yield _json_batch(rows, names)
            rows = []
    if rows:
        yield _json_batch(rows, names)


def _json_batch(rows: list[dict[str, Any]], names: Sequence[str]) -> Any:
    item, *others = names
    columns = [pa.array([as_bytes(row.get(item)) for row in rows], pa.large_binary())]
    for name in others:
        columns.append(pa.array([json.dumps(row.get(name)) for row in rows], pa.large_string()))
    return pa.RecordBatch.from_arrays(columns, names=list(names))


def as_bytes(value: Any) -> bytes | None:
    """A text as UTF-8 bytes; None and not-a-number are missing texts."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, float) and value != value:
        return None
    return str(value).encode("utf-8", "surrogatepass")


def _out_of_json(column: Any) -> Any:
    coded = column.combine_chunks().dictionary_encode()
    values = [json.loads(word) for word in coded.dictionary.to_pylist()]
    return arrow_column([values[code] for code in coded.indices.to_pylist()])


def arrow_column(values: Any) -> Any:
    """Values as an Arrow array; as words where they are of several kinds."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.large_string())
