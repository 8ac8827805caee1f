"""Writes the rows of tests/parquet_interop.rs in the types and layouts that pandas, pyarrow and polars give them.

usage: parquet_types.py FOLDER
"""

import datetime
import decimal
import pathlib
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

folder = pathlib.Path(sys.argv[1])
rows = range(1000)
users = [n * n % 101 for n in rows]
items = [n % 31 for n in rows]
ratings = [n % 10 / 2 for n in rows]
days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=n // 100) for n in rows]
times = [datetime.datetime(2024, 1, 1, 0, 0, 0) + datetime.timedelta(seconds=n) for n in rows]

# A gap among whole numbers makes them floats.
frame = pd.DataFrame({
    "user": pd.Series([np.nan if n % 7 == 3 else float(users[n]) for n in rows]),
    "item": [f"film {item}" for item in items],
    "rating": ratings,
    "time": pd.to_datetime(times),
})
frame.to_parquet(folder / "pandas.parquet", row_group_size=300)

pq.write_table(
    pa.table({
        "user": pa.array([decimal.Decimal(user) for user in users], pa.decimal128(20, 2)),
        "item": pa.array([f"film {item}".encode() for item in items], pa.binary()),
        "rating": pa.array([decimal.Decimal(n % 10) / 2 for n in rows], pa.decimal128(5, 1)),
        "time": pa.array(days, pa.date32()),
    }),
    folder / "pyarrow.parquet",
    compression="lz4",
)
pq.write_table(
    pa.table({"user": users, "item": items, "time": pa.array(times, pa.timestamp("ns"))}),
    folder / "int96.parquet",
    use_deprecated_int96_timestamps=True,
)

lists = pl.DataFrame({"user": users, "items": items, "ratings": ratings}).group_by("user", maintain_order=True).agg("items", "ratings")
lists.write_parquet(folder / "polars.parquet", compression="snappy", row_group_size=13)

parts = pa.table({
    "user": users,
    "item": items,
    "day": pa.array(days, pa.date32()),
    "shop": [None if n % 5 == 0 else f"é/{n % 5} %" for n in rows],
})
ds.write_dataset(
    parts,
    folder / "dataset",
    format="parquet",
    partitioning=ds.partitioning(pa.schema([("day", pa.date32()), ("shop", pa.string())]), flavor="hive"),
)
plain = pl.DataFrame({"user": users, "item": items, "day": days})
plain.write_parquet(folder / "polars_dataset", partition_by="day", compression="snappy", mkdir=True)
