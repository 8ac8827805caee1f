"""Writes polars_zstd.parquet: three rows as polars writes them by default, compressed with Zstandard. Needs
polars."""

import pathlib

import polars as pl

path = pathlib.Path(__file__).with_name("polars_zstd.parquet")
columns = {"user": [1, 2, 3], "item": [5, 6, 7], "value": [1.0, 2.0, 3.0], "timestamp": [1, 2, 3]}
pl.DataFrame(columns).write_parquet(path)
print(path, path.stat().st_size, "bytes")
