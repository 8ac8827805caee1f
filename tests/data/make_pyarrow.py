"""Writes pyarrow.parquet: a file of several row groups, with a dictionary column, a time stamp column, an
unused column of lists and Snappy compression. Needs pyarrow."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

n = 60
table = pa.table({
    "note": pa.array([["x"] * (row % 3) for row in range(n)], pa.list_(pa.string())),
    "user": pa.array([row * row % 11 + 2**40 for row in range(n)], pa.int64()),
    "item": pa.array([f"film {row % 7}" for row in range(n)]).dictionary_encode(),
    "rating": pa.array([row % 10 / 2 for row in range(n)], pa.float64()),
    "time": pa.array([1_000 * row for row in range(n)], pa.timestamp("ms")),
})
path = pathlib.Path(__file__).with_name("pyarrow.parquet")
pq.write_table(table, path, row_group_size=25, compression="snappy")
print(path, path.stat().st_size, "bytes")
