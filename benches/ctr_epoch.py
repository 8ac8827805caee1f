"""Training and scoring of ranking models here and by the PyTorch script, in turn: rows a second in training, and
milliseconds to score 1,000 candidates for a user.

    python benches/ctr_epoch.py CTR_EXAMPLE TORCH_SCRIPT DATA_DIR [--models deepfm,dcn,dcn-v2,din] [--turns 3] [--python PYTHON]

CTR_EXAMPLE is the built example `movielens_ctr`, TORCH_SCRIPT a script that trains the same models on the ML-1M in
DATA_DIR and prints a line of JSON with `samples_per_s` and `infer`. Both have eight fields of 16 numbers, a perceptron of 256
and 128 units, three cross layers, at most 50 past films for DIN, batches of 4,096 and two threads.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

p = argparse.ArgumentParser()
p.add_argument("example")
p.add_argument("script")
p.add_argument("data")
p.add_argument("--models", default="deepfm,dcn,dcn-v2,din")
p.add_argument("--turns", type=int, default=3)
p.add_argument("--steps", type=int, default=100, help="of PyTorch; ours is the second of two epochs")
p.add_argument("--python", default=sys.executable)
a = p.parse_args()


def ours(model):
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [a.example, "--data-dir", a.data, "--dataset", "ml-1m", "--model", model, "--epochs", "2"]
        subprocess.run([*command, "--report", report.name], check=True, capture_output=True)
        read = json.load(open(report.name))
    epoch, n_rows = read["models"][0]["history"]["epochs"][-1], read["dataset"]["train"]
    seconds = epoch["seconds"] - epoch["validation_seconds"]
    return n_rows / seconds, read["models"][0]["request_p50_ms"], read["models"][0]["request_p99_ms"]


def torch(model):
    name = model.replace("-", "")
    steps = a.steps // 4 if model == "din" else a.steps
    command = [a.python, a.script, "--model", name, "--data", os.path.join(a.data, "ml-1m"), "--epochs", "1"]
    run = subprocess.run([*command, "--max-steps", str(steps)], check=True, capture_output=True, text=True)
    read = json.loads(run.stdout.splitlines()[-1])
    return read["samples_per_s"], read["infer"]["p50_ms"], read["infer"]["p95_ms"]


print("| model | rows/s | PyTorch | ratio | p50 | PyTorch | p99 | PyTorch (p95) |\n|---|---|---|---|---|---|---|---|")
for model in a.models.split(","):
    turns = [(ours(model), torch(model)) for _ in range(a.turns)]
    (rate, p50, p99), (torch_rate, torch_p50, torch_p95) = (
        [statistics.median(turn[side][i] for turn in turns) for i in range(3)] for side in range(2)
    )
    ratios = " ".join(f"{turn[0][0] / turn[1][0]:.2f}" for turn in turns)
    print(
        f"| {model} | {rate:,.0f} | {torch_rate:,.0f} | {rate / torch_rate:.2f} ({ratios}) | {p50:.2f} ms | {torch_p50:.2f} ms"
        f" | {p99:.2f} ms | {torch_p95:.2f} ms |",
        flush=True,
    )
