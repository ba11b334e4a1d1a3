"""Selectors that look at features: seconds, memory on top of the data's, and how good their picks are.

    OMP_NUM_THREADS=2 python benchmarks/selecting.py [--examples 12500 25000 50000] [--rivals PYTHON] [--folder DIR]

Each line runs in a process of its own, after a first call on 200 examples that loads what it needs. A tenth is kept.
`plain k-center` keeps the distances of all picks to all examples, as research code has it. Facility location is
compared with exact greedy on 10,000 examples. --rivals: an interpreter that can import apricot and submodlib; they work
on the same similarities, dense, with their lazy optimisers.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SELECTORS = (
    "k_center", "herding", "d2", "contextual_diversity",
    "facility_location", "graph_cut", "saturated_coverage", "infomax",
)  # fmt: skip
RIVALS = ("apricot", "submodlib")
CLASSES = 10


def make(folder: Path, examples: int, dims: int, shape: str) -> None:
    """Features as after a ReLU, in 100 blobs (`blobs`), or normal in every direction (`even`); what goes with them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(examples, dims)).astype(np.float32)
    blob = rng.integers(100, size=examples)
    if shape == "blobs":
        features += rng.normal(size=(100, dims)).astype(np.float32)[blob]
        np.maximum(features, 0, out=features)
    logits = 4 * np.eye(CLASSES)[blob % CLASSES] + rng.normal(size=(examples, CLASSES)) * 2
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    labels = blob % CLASSES
    arrays = {
        "features": features, "p_final": p.astype(np.float32), "labels": labels,
        "scores": 1 - p[np.arange(examples), labels],
        "errors": (p - np.eye(CLASSES)[labels]).astype(np.float32),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def peak() -> float:
    """The most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plain_k_center(features: np.ndarray, keep: int) -> np.ndarray:
    """Greedy k-center on a table of distances (keep, examples)."""
    table = np.empty((keep, len(features)), dtype=np.float32)
    nearest = np.full(len(features), np.inf, dtype=np.float32)
    squares = (features * features).sum(axis=1)
    picks = [0]
    for row in range(keep):
        table[row] = squares + squares[picks[-1]] - 2 * (features @ features[picks[-1]])
        nearest = np.minimum(nearest, table[row])
        nearest[picks] = -1
        picks.append(int(nearest.argmax()))
    return np.sort(picks[:keep])


def alike(features: np.ndarray) -> np.ndarray:
    """0.5 + 0.5 cosine of all pairs, float32."""
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    return np.clip(0.5 + 0.5 * rows @ rows.T, 0, 1)


def apricot(features: np.ndarray, keep: int) -> np.ndarray:
    """Facility location by apricot-select."""
    from apricot import FacilityLocationSelection

    chosen = FacilityLocationSelection(keep, metric="precomputed", optimizer="lazy")
    return np.asarray(chosen.fit(alike(features).astype(np.float64)).ranking)


def submodlib(features: np.ndarray, keep: int) -> np.ndarray:
    """Facility location by submodlib-py."""
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=len(features), mode="dense", separate_rep=False, sijs=alike(features))
    picks = function.maximize(
        budget=keep, optimizer="LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False, show_progress=False
    )
    return np.array([pick for pick, _ in picks])


def work(what: str) -> Callable[[dict[str, np.ndarray], int], np.ndarray]:
    """What a line does with the arrays and how many to keep. `NAME:KNOB=VALUE`: a selector with a knob."""
    if what == "plain k-center":
        return lambda arrays, keep: plain_k_center(arrays["features"], keep)
    if what in RIVALS:
        rival = {"apricot": apricot, "submodlib": submodlib}[what]
        return lambda arrays, keep: rival(arrays["features"], keep)
    from secateur.registry import get

    name, _, knob = what.partition(":")
    entry = get("selector", name.replace("_", "-"))
    knobs = {k: int(v) for k, _, v in [knob.partition("=")] if k}

    def run(arrays: dict[str, np.ndarray], keep: int) -> np.ndarray:
        given: dict[str, Any] = dict(knobs) | {"keep": keep}
        if "rng" in entry.knobs:
            given["rng"] = np.random.default_rng(0)
        inputs = [len(arrays["features"]) if n == "n" else arrays[n] for n in entry.needs]
        return np.asarray(getattr(out := entry.fn(*inputs, **given), "ids", out))

    return run


def one(folder: Path, what: str, keep: int) -> dict[str, Any]:
    """Run one line and measure it; the ids go to a file."""
    if what not in ("plain k-center", *RIVALS):
        import secateur.select  # noqa: F401
    run = work(what)
    arrays = {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
    run({name: array[:200] for name, array in arrays.items()}, 20)
    before, started = peak(), time.perf_counter()
    ids = run(arrays, keep)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "memory": peak() - before, "ids": np.sort(ids).tolist()}


def measured(folder: Path, what: str, keep: int, python: str = sys.executable) -> dict[str, Any] | str:
    """`one` in a process of its own, or the last line of what went wrong."""
    command = [python, __file__, "--one", what, "--folder", str(folder), "--keep", str(keep)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def cost(root: Path, sizes: list[int], dims: int) -> None:
    """Seconds and memory of every selector."""
    print("| selector | " + " | ".join(f"{n:,}: s | MB" for n in sizes) + " |\n|---|" + "---|---|" * len(sizes))
    for what in (*SELECTORS, "plain k-center"):
        cells = []
        for examples in sizes:
            found = measured(data(root, examples, dims, "blobs"), what, examples // 10)
            cells.append(
                f"{found} | -" if isinstance(found, str) else f"{found['seconds']:.1f} | {found['memory']:.0f}"
            )
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


def quality(root: Path, examples: int, dims: int, rivals: str | None) -> None:
    """Facility location against exact greedy, and against others' programs."""
    from secateur.select.similarity import cosine_similarity
    from secateur.select.submodular import facility_value

    keep = examples // 10
    print(f"\n| {examples:,} examples, {keep:,} picks | s | MB | of exact greedy | of its lead over random |")
    print("|---|---|---|---|---|")
    for shape in ("blobs", "even"):
        folder = data(root, examples, dims, shape)
        lines = {w: measured(folder, w, keep) for w in ("facility_location:neighbours=0", "facility_location")}
        lines |= {w: measured(folder, w, keep, rivals) for w in RIVALS if rivals}
        exact = lines["facility_location:neighbours=0"]
        if isinstance(exact, str):
            raise SystemExit(exact)
        pairs = cosine_similarity(np.load(folder / "features.npy"), neighbours=0)
        rng = np.random.default_rng(1)
        base = np.mean([facility_value(pairs, rng.choice(examples, keep, replace=False)) for _ in range(5)])
        best = facility_value(pairs, np.array(exact["ids"]))
        for what, found in lines.items():
            if isinstance(found, str):
                print(f"| {shape}: {what} | {found} | - | - | - |")
                continue
            value = facility_value(pairs, np.array(found["ids"]))
            spent = f"{found['seconds']:.1f} | {found['memory']:.0f}"
            print(f"| {shape}: {what} | {spent} | {value / best:.5f} | {(value - base) / (best - base):.4f} |")
        print(f"| {shape}: random | - | - | {base / best:.5f} | 0 |", flush=True)


def data(root: Path, examples: int, dims: int, shape: str) -> Path:
    """The folder of a data set, made once."""
    folder = root / f"{shape}-{examples}-{dims}"
    if not folder.exists():
        make(folder, examples, dims, shape)
    return folder


def main() -> None:
    """Make the data, then measure each line in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, nargs="*", default=[12_500, 25_000, 50_000])
    parser.add_argument("--exact", type=int, default=10_000, help="examples for the comparison with exact greedy")
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--rivals", help="an interpreter that can import apricot and submodlib")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.folder, arguments.one, arguments.keep)))
        return
    root = arguments.folder or Path(tempfile.mkdtemp())
    cost(root, arguments.examples, arguments.dims)
    quality(root, arguments.exact, arguments.dims, arguments.rivals)
    if arguments.folder is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
