"""Writes the files beside it: one small matrix in every format that `ItemVectors` reads. Row r, column c is
(r - 1) * 0.5 + c * 8, exact in half precision. Needs numpy, pyarrow, torch and safetensors."""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

folder = pathlib.Path(__file__).parent
rows, columns = np.meshgrid(np.arange(5), np.arange(3), indexing="ij")
matrix = (rows - 1) * 0.5 + columns * 8.0

np.save(folder / "c_f4.npy", matrix.astype("<f4"))
np.save(folder / "fortran_f8.npy", np.asfortranarray(matrix))
np.save(folder / "big_endian_f4.npy", matrix.astype(">f4"))
np.save(folder / "three_axes.npy", matrix.astype("<f4").reshape(5, 3, 1))
np.save(folder / "integers.npy", matrix.astype("<i8"))

tensor = torch.tensor(matrix)
dtypes = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64}
tensors = {name: tensor.to(dtype).contiguous() for name, dtype in dtypes.items()}
tensors["row"] = tensor[0].to(torch.float32).contiguous()
tensors["counts"] = tensor.to(torch.int64).contiguous()
save_file(tensors, folder / "all.safetensors")
save_file({"item": tensors["f32"]}, folder / "one.safetensors")

# Rows in another order than the ids, and one item that nobody knows.
order = [3, 0, 4, 2, 1]
keys = [10 * (row + 1) for row in order] + [999]
listed = [matrix[row].tolist() for row in order] + [[0.0, 0.0, 0.0]]
numbers = {f"x{c}": [row[c] for row in listed] for c in range(3)}
pq.write_table(pa.table({
    "item": pa.array(keys, pa.int64()),
    "name": pa.array([f"film {key}" for key in keys]).dictionary_encode(),
    "list": pa.array(listed, pa.list_(pa.float64())),
    "fixed": pa.array(listed, pa.list_(pa.float32(), 3)),
    **{name: pa.array(values, pa.float32()) for name, values in numbers.items()},
}), folder / "vectors.parquet", row_group_size=4)

for path in sorted(folder.glob("*")):
    print(path.name, path.stat().st_size, "bytes")
