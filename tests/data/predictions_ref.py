"""Reference values for labelled rows of users: calibration (from scikit-learn's calibration_curve) and the ranking of
each user's rows among themselves (scikit-learn's ndcg_score and average_precision_score; hit rate and reciprocal rank
from the sorted labels). Scores are distinct within a user, because ndcg_score averages over the orders of ties; they
are float32, so that the file holds exactly what a ranker gives. Writes predictions_ref.json beside itself."""
import json
import pathlib

import numpy as np
import sklearn
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, log_loss, ndcg_score, roc_auc_score

N_ROWS, N_USERS, CUTOFFS = 400, 30, [1, 3, 10, 100]
rng = np.random.default_rng(5)
user = rng.integers(0, N_USERS, N_ROWS)
logit = rng.standard_normal(N_ROWS) + 0.5 * rng.standard_normal(N_USERS)[user]
label = (rng.random(N_ROWS) < 1 / (1 + np.exp(-logit))).astype(int)
label[user == 4] = 1
label[user == 9] = 0
score = (2 * logit + rng.standard_normal(N_ROWS)).astype(np.float32)
# Few digits, so that there are ties, and skewed, so that bins of equal width differ from those of equal frequency.
probability = (1 / (1 + np.exp(-score.astype(float) + 2))).round(2).clip(0.01, 1).astype(np.float32).astype(float)


def ece(strategy, n_bins):
    shares, means = calibration_curve(label, probability, n_bins=n_bins, strategy=strategy)
    if strategy == "uniform":
        edges = np.linspace(0, 1, n_bins + 1)
    else:
        edges = np.percentile(probability, np.linspace(0, 1, n_bins + 1) * 100)
    counts = np.bincount(np.searchsorted(edges[1:-1], probability), minlength=n_bins)
    counts = counts[counts > 0]
    assert len(counts) == len(shares) and counts.sum() == N_ROWS
    return float(counts @ np.abs(shares - means) / N_ROWS)


per_user = {}
for u in range(N_USERS):
    y, s = label[user == u], score[user == u]
    assert len(y) > 1 and len(set(s)) == len(s)
    if y.sum() == 0:
        continue
    ranked = y[np.argsort(-s)]
    values = {}
    for k in CUTOFFS:
        values[f"ndcg@{k}"] = float(ndcg_score([y], [s], k=k))
        values[f"hit_rate@{k}"] = float(ranked[:k].any())
        values[f"mrr@{k}"] = float(1 / (1 + ranked[:k].argmax())) if ranked[:k].any() else 0.0
    values["map@100"] = float(average_precision_score(y, s))
    per_user[u] = values

out = dict(
    versions=dict(numpy=np.__version__, sklearn=sklearn.__version__),
    user=user.tolist(), label=label.tolist(), score=score.astype(float).tolist(), probability=probability.tolist(),
    n_without_positive=N_USERS - len(per_user), per_user=per_user,
    expected=dict(
        auc=float(roc_auc_score(label, score)), log_loss=float(log_loss(label, np.clip(probability, 1e-7, 1 - 1e-7))),
        calibration_ratio=float(probability.sum() / label.sum()),
        ece_equal_width=ece("uniform", 15), ece_equal_frequency=ece("quantile", 15),
        ece_equal_width_10=ece("uniform", 10), ece_equal_frequency_7=ece("quantile", 7),
    ),
)
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")
print(json.dumps(out["expected"], indent=1), out["n_without_positive"])
