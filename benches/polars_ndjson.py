"""The file of benches/read_json.rs in polars: its four columns as a frame. Prints seconds and sizes as one JSON line.

usage: POLARS_MAX_THREADS=2 polars_ndjson.py FILE
"""

import json
import resource
import sys
import time

import polars as pl

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
schema = {
    "user_id": pl.String,
    "item": pl.Struct({"id": pl.String}),
    "rating": pl.Float32,
    "ts": pl.Int64,
}
events = (
    pl.scan_ndjson(sys.argv[1], schema=schema)
    .select("user_id", pl.col("item").struct.field("id"), "rating", "ts")
    .collect(engine="streaming")
)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "megabytes": (peak - before) * 1024 / 1e6, "rows": events.height}))
