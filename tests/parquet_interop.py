"""Reads a Parquet file of recsys with pyarrow and with polars, prints what it holds as JSON lines, and
writes the same rows, as pyarrow would, to a second file.

usage: parquet_interop.py READ WRITE
"""

import json
import sys

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

source, target = sys.argv[1:]
table = pq.read_table(source)
frame = pl.read_parquet(source)
rows = table.to_pylist()
assert frame.to_dicts() == rows, "pyarrow and polars differ"
assert [str(field.type) for field in table.schema] == ["uint64", "string", "float", "int64"], table.schema
assert all(column.null_count == 0 for column in table.columns)

for row in rows:
    print(json.dumps([row["user"], row["item"], row["value"], row["timestamp"]]))

pq.write_table(
    pa.table({
        "timestamp": table["timestamp"],
        "user": table["user"].cast(pa.int64()),
        "item": table["item"].dictionary_encode(),
        "value": table["value"].cast(pa.float64()),
    }),
    target,
    row_group_size=1000,
)
