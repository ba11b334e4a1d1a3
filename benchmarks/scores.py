"""Every trajectory score over a recording of ImageNet's size: seconds, and memory on top of the interpreter's.

    python benchmarks/scores.py [--examples 1281167] [--epochs 90] [--folder DIR]

Each line runs in a process of its own. `read` only reads the array; `plain` is the window-by-window loop over the
whole array in memory, as research code has it.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from secateur.methods import Use
from secateur.store.recording import Recording, RecordingWriter
from secateur.store.scoring import compute

SCORES = {
    "forgetting": {}, "aum": {}, "aum-prob": {}, "dyn-unc": {}, "dual": {}, "tdds": {}, "esps": {},
    "el2n": {}, "loss": {}, "entropy": {}, "least-confidence": {}, "margin": {},
}  # fmt: skip
NEEDED = sorted({n for name in SCORES for n in Use(name).entry.needs})


def make(path: Path, examples: int, epochs: int) -> None:
    """A recording of random trajectories within the range of each field."""
    fields = [*NEEDED, "labels"]
    writer = RecordingWriter(path, examples=examples, fields=fields, classes=1000, fingerprint=None, provenance={})
    writer.create()
    rng = np.random.default_rng(0)
    level = rng.random(examples, dtype=np.float32)
    for epoch in range(epochs):
        noise = rng.random(examples, dtype=np.float32)
        p = np.clip(level * (0.4 + 0.6 * epoch / epochs) + 0.3 * (noise - 0.5), 0, 1)
        rows = {n: p for n in NEEDED} | {"correct": (p > 0.5).astype(np.uint8)}
        if epoch == 0:
            rows |= {n: np.full_like(p, np.nan) for n in ("kl_step", "cos_step")}
        writer.append(rows)
    writer.write_tables({"labels": rng.integers(1000, size=examples)})
    writer.finish()


def peak() -> float:
    """The most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plain_dual(p: np.ndarray, window: int = 10) -> np.ndarray:
    """DUAL as published: a loop over windows, each over the whole array."""
    out = np.zeros(p.shape[1])
    for start in range(len(p) - window + 1):
        inside = p[start : start + window]
        out += (1 - inside.mean(axis=0)) * inside.std(axis=0, ddof=1)
    return out / (len(p) - window + 1)


def one(path: Path, what: str) -> dict[str, float]:
    """Run one line and measure it."""
    recording = Recording.open(path)
    np.asarray(recording["labels"][:10])
    before, started = peak(), time.perf_counter()
    if what == "read":
        for block in recording.blocks(["p_target"]):
            block.arrays["p_target"].sum()
        return {"seconds": time.perf_counter() - started, "memory": peak() - before}
    if what == "plain":
        p = np.asarray(recording["p_target"])
        loaded = time.perf_counter()
        plain = plain_dual(p)
        seconds = time.perf_counter() - loaded
        np.testing.assert_allclose(compute(recording, Use("dual")), plain, rtol=1e-3, atol=1e-5)
        return {"seconds": seconds, "memory": peak() - before}
    if what == "dual in memory":
        import secateur.scores

        p = np.asarray(recording["p_target"])
        loaded = time.perf_counter()
        secateur.scores.dual(p)
        return {"seconds": time.perf_counter() - loaded, "memory": peak() - before}
    compute(recording, Use(what))
    return {"seconds": time.perf_counter() - started, "memory": peak() - before}


def main() -> None:
    """Make the recording, then measure each line in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=1_281_167)
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.folder, arguments.one)))
        return
    folder = arguments.folder or Path(tempfile.mkdtemp())
    path = folder / "recording.zarr"
    if not path.exists():
        make(path, arguments.examples, arguments.epochs)
    print("| what | seconds, median of runs | slowest | extra memory, MB |\n|---|---|---|---|")
    for what in ("read", "plain", "dual in memory", *SCORES):
        runs = []
        for _ in range(arguments.repeat):
            command = [sys.executable, __file__, "--folder", str(path), "--one", what]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout))
        seconds = [r["seconds"] for r in runs]
        print(
            f"| {what} | {np.median(seconds):.2f} | {max(seconds):.2f} | {max(r['memory'] for r in runs):.0f} |",
            flush=True,
        )
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
