"""An epoch of SASRec under P1 here and by the PyTorch script, in turn: seconds of training alone.

    python benches/sasrec_epoch.py SASREC_EXAMPLE TORCH_SCRIPT SEQUENCES [--loss ce|bce] [--turns 3] [--python PYTHON]

SASREC_EXAMPLE is the built example `movielens_sasrec`, TORCH_SCRIPT a script that trains the same model on the same file
and prints a line of JSON with `s_per_epoch`. Both read the last 200 items of each history, 128 histories a batch, d 64,
two blocks of one head.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile

p = argparse.ArgumentParser()
p.add_argument("example")
p.add_argument("script")
p.add_argument("sequences")
p.add_argument("--loss", default="ce", choices=["ce", "bce"])
p.add_argument("--turns", type=int, default=3)
p.add_argument("--python", default=sys.executable)
a = p.parse_args()


def ours():
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        loss = {"ce": "full-softmax", "bce": "bce"}[a.loss]
        command = [a.example, "--sequences", a.sequences, "--newest", "--alone", "--epochs", "2", "--loss", loss]
        subprocess.run([*command, "--report", report.name], check=True, capture_output=True)
        epoch = json.load(open(report.name))["history"]["epochs"][-1]
        return epoch["seconds"] - epoch["validation_seconds"]


def torch():
    command = [a.python, a.script, "--data", a.sequences, "--maxlen", "200", "--loss", a.loss, "--kcore", "0"]
    run = subprocess.run([*command, "--epochs", "1"], check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])["s_per_epoch"]


times = {"ours": [], "torch": []}
for turn in range(a.turns):
    times["ours"].append(ours())
    times["torch"].append(torch())
    print(f"turn {turn + 1}: ours {times['ours'][-1]:.1f} s, PyTorch {times['torch'][-1]:.1f} s", flush=True)
ours, torch = (statistics.median(times[name]) for name in ("ours", "torch"))
print(f"{a.loss}: ours {ours:.1f} s, PyTorch {torch:.1f} s an epoch; ratio {torch / ours:.2f}")
