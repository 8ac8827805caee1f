"""hnswlib on the vectors of benches/hnsw_vs_hnswlib.rs: BASE.npy QUERIES.npy BUILD_THREADS."""
import sys
import time

import hnswlib
import numpy as np

K = 10
base, queries = np.load(sys.argv[1]), np.load(sys.argv[2])

truth = np.concatenate(
    [np.argpartition(-(queries[b : b + 256] @ base.T), K, axis=1)[:, :K] for b in range(0, len(queries), 256)]
)

index = hnswlib.Index(space="ip", dim=base.shape[1])
index.init_index(max_elements=len(base), ef_construction=200, M=16, random_seed=1)
start = time.perf_counter()
index.add_items(base, np.arange(len(base)), num_threads=int(sys.argv[3]))
print(f"  hnswlib (M 16, ef_construction 200): {len(base)} items in {time.perf_counter() - start:.1f} s")
for ef in (20, 40, 80, 160, 320):
    index.set_ef(ef)
    start = time.perf_counter()
    found = index.knn_query(queries, k=K, num_threads=1)[0]
    rate = len(queries) / (time.perf_counter() - start)
    recall = np.mean([len(np.intersect1d(f, t)) for f, t in zip(found, truth)]) / K
    print(f"    ef {ef:4}: {rate:7.0f} queries/s, recall@10 {recall:.4f}", flush=True)
