"""implicit's ALS on the pairs that ials_vs_implicit.rs wrote: seconds per sweep, and the objective of Hu et al., equation 3."""

import sys
import time

import implicit
import numpy as np
import scipy.sparse as sp

path, n_users, n_items, n_factors, n_sweeps, threads = sys.argv[1], *map(int, sys.argv[2:7])
alpha, regularization = map(float, sys.argv[7:9])
pairs = np.fromfile(path, dtype="<u4").reshape(-1, 2)
values = np.ones(len(pairs), np.float32)
matrix = sp.csr_matrix((values, (pairs[:, 0], pairs[:, 1])), shape=(n_users, n_items))
matrix.sum_duplicates()

times = []
model = implicit.als.AlternatingLeastSquares(
    factors=n_factors,
    iterations=n_sweeps,
    regularization=regularization,
    # implicit takes a weight r for c = r, where Hu et al. have c = 1 + α r.
    alpha=1.0,
    num_threads=threads,
    random_state=0,
)
model.fit(
    matrix * (1.0 + alpha),
    show_progress=False,
    callback=lambda sweep, seconds, *_: times.append(seconds),
)
x, y = (np.asarray(f, dtype=np.float64) for f in (model.user_factors, model.item_factors))
scores = np.concatenate([np.einsum("nd,nd->n", x[u], y[i]) for u, i in
                         ((part[:, 0], part[:, 1]) for part in np.array_split(pairs, 50))])
objective = (
    np.sum((x.T @ x) * (y.T @ y))
    + np.sum((1.0 + alpha) * (1.0 - scores) ** 2 - scores**2)
    + regularization * (np.sum(x * x) + np.sum(y * y))
)
print(f"  implicit: {np.median(times[1:]):.3f} s per sweep (median), objective {objective:.6e}", flush=True)
