"""Writes brotli.parquet (a column compressed by Brotli, two that are not compressed) and uuid_int96.parquet (UUIDs, lists of
them, and time stamps of 96 bits, as old Spark wrote). Needs pyarrow."""

import datetime
import pathlib
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

here = pathlib.Path(__file__)


def write(name, table, **options):
    path = here.with_name(name)
    pq.write_table(table, path, store_schema=False, write_statistics=False, **options)
    print(path, path.stat().st_size, "bytes")


table = pa.table({"user": [1, 2, 3], "item": [5, 6, 7], "plain": [5, 6, 7]})
write("brotli.parquet", table, compression={"user": "none", "item": "brotli", "plain": "none"})

ids = [uuid.UUID(int=n).bytes for n in (1, 171, 2)]
uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=n).bytes for n in (17, 18)], pa.binary(16)))
items = pa.ListArray.from_arrays([0, 2, 3], pa.ExtensionArray.from_storage(pa.uuid(), pa.array(ids, pa.binary(16))))
times = [datetime.datetime(2024, 1, 3, 12, 0, second) for second in (0, 1)]
table = pa.table({"user": uuids, "items": items, "time": pa.array(times, pa.timestamp("us"))})
write("uuid_int96.parquet", table, compression="none", use_deprecated_int96_timestamps=True)
