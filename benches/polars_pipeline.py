"""The work of benches/read_csv.rs in polars: read userId,movieId,rating,timestamp from CSV, give dense ids
to users and items, sort stably by user and time, and mark each user's last row (test), the one before
(validation) and the earlier ones (train). Prints seconds and sizes as one JSON line.

usage: POLARS_MAX_THREADS=2 polars_pipeline.py FILE
"""

import json
import resource
import sys
import time

import polars as pl

start = time.perf_counter()

ratings = (
    pl.scan_csv(
        sys.argv[1],
        schema={"userId": pl.UInt64, "movieId": pl.UInt64, "rating": pl.Float32, "timestamp": pl.Int64},
    )
    .collect(engine="streaming")
)
read = time.perf_counter()

# The fastest of three ways to get dense ids: `rank("dense")` and `replace_strict` take longer.
users = ratings.select(pl.col("userId").unique(maintain_order=True)).with_row_index("user")
items = ratings.select(pl.col("movieId").unique(maintain_order=True)).with_row_index("item")
ratings = (
    ratings.lazy()
    .join(users.lazy(), on="userId", how="left", maintain_order="left")
    .join(items.lazy(), on="movieId", how="left", maintain_order="left")
    .drop("userId", "movieId")
    .collect()
)
encoded = time.perf_counter()

ratings = ratings.sort("user", "timestamp", maintain_order=True)
ordered = time.perf_counter()

# In the sorted frame, a user's rows stand together: the last ones are found by looking one and two ahead.
last = pl.col("user") != pl.col("user").shift(-1, fill_value=2**32 - 1)
before = ~last & last.shift(-1, fill_value=True)
long_enough = pl.len().over("user") >= 3
parts = ratings.select(
    test=last & long_enough, validation=before & long_enough, train=~last & ~before & long_enough
)
train = ratings.filter(parts["train"])
validation = ratings.filter(parts["validation"])
test = ratings.filter(parts["test"])
done = time.perf_counter()

print(json.dumps({
    "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    "seconds": done - start,
    "read": read - start,
    "encode": encoded - read,
    "sort": ordered - encoded,
    "split": done - ordered,
    "rows": ratings.height,
    "users": ratings["user"].max() + 1,
    "items": ratings["item"].max() + 1,
    "train": train.height,
    "validation": validation.height,
    "test": test.height,
}))
