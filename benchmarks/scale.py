"""`scale prune` over embeddings made on the spot: seconds and memory a stage, growth, and which duplicates are found.

    python benchmarks/scale.py OUT [--rows 250000,500000,1000000,2000000] [--dims 512] [--workers 2] [--engine local]
        [--border 0.005] [--k-means]

Rows lie in clusters of uneven size and width; a fifth are near-duplicates of others, planted in other places. A run is
a process of its own; memory is what it and its workers hold together (proportional set size), looked at twice a second.
--k-means: how far the mean distance to the centroid is above that of faiss over all rows in 25 iterations, and how fast
a matrix product is.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from secateur.geometry import centroids
from secateur.scale.shards import unit_vectors

SHARD = 131_072


def made(folder: Path, rows: int, dims: int, *, clusters: int, copies: float = 0.2, seed: int = 0) -> np.ndarray:
    """Write shards; the row each row is a copy of (rows,), -1 of the others. Ids are row numbers."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dims), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    sizes = rng.pareto(1.5, clusters) + 0.1
    width = rng.uniform(0.6, 1.4, clusters).astype(np.float32) / np.sqrt(dims)
    place = rng.permutation(rows)
    originals, copied = np.sort(place[round(copies * rows) :]), np.sort(place[: round(copies * rows)])
    values = np.empty((rows, dims), dtype=np.float16)
    for part in np.array_split(originals, max(1, rows // SHARD)):
        of = rng.choice(clusters, len(part), p=sizes / sizes.sum())
        noise = rng.standard_normal((len(part), dims), dtype=np.float32)
        values[part] = centres[of] + noise * width[of][:, None]
    source = np.full(rows, -1)
    source[copied] = rng.choice(originals, len(copied))
    for part in np.array_split(copied, max(1, rows // SHARD)):
        base = values[source[part]].astype(np.float32)
        noise = rng.standard_normal(base.shape, dtype=np.float32) / np.sqrt(dims)
        far = rng.uniform(0.02, 0.2, (len(part), 1)).astype(np.float32)  # cosines from 0.98
        values[part] = base + noise * far * np.linalg.norm(base, axis=1, keepdims=True)
    for number, start in enumerate(range(0, rows, SHARD)):
        part = values[start : start + SHARD]
        lists = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), dims)
        table = pa.table({"id": np.arange(start, start + len(part)), "embedding": lists})
        pq.write_table(table, folder / f"{number:05d}.parquet", row_group_size=16_384, use_dictionary=False)
    return source


def held(pid: int) -> int:
    """Bytes that a process and those under it hold together."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        waiting += map(int, children)
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def timed(command: list[str]) -> tuple[float, int]:
    """Seconds of a command, and the most that was held meanwhile."""
    started, most = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        done = threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.5):
                most = max(most, held(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        done.set()
        watcher.join()
    if code:
        sys.exit(code)
    return time.perf_counter() - started, most


def found(out: Path, source: np.ndarray) -> tuple[float, float]:
    """The share of planted copies that is found, and of rows without a copy that are taken for one.

    Of a group of copies one stays, whichever it is.
    """
    table = pq.read_table(out / "manifest.parquet", columns=["id", "reason"]).to_pandas().set_index("id").sort_index()
    gone = (table["reason"] == "duplicate").to_numpy()
    group = np.where(source >= 0, source, np.arange(len(source)))
    sizes, went = np.bincount(group, minlength=len(group)), np.bincount(group[gone], minlength=len(group))
    many = sizes > 1
    hits = np.minimum(went[many], sizes[many] - 1).sum() / (sizes[many] - 1).sum()
    wrong = went[sizes == 1].sum() + np.maximum(0, went[many] - sizes[many] + 1).sum()
    return float(hits), float(wrong / (len(source) - (sizes[many] - 1).sum()))


def compare_k_means(shards: Path, out: Path) -> str:
    """The mean distance to the centroid beside that of a full run, and what the machine multiplies in a second."""
    table = pq.read_table(shards)["embedding"].combine_chunks()
    rows = unit_vectors(table.flatten().to_numpy().reshape(len(table), -1))[0]
    (fitted,) = (out / "stages").glob("fit-*")
    (laid,) = (out / "stages").glob("assign-*")
    told = [json.loads(path.read_text()) for path in (laid / "done").glob("*.json")]
    ours = sum(one["distance"] for one in told) / sum(one["rows"] for one in told)
    full = centroids(rows, len(np.load(fitted / "centroids.npy")), iterations=25, metric="cosine")
    best = sum((rows[k : k + SHARD] @ full.T).max(axis=1).sum(dtype=float) for k in range(0, len(rows), SHARD))
    started = time.perf_counter()
    for _ in range(50):
        rows[:4096] @ full.T
    speed = 50 * 2 * 4096 * full.size / (time.perf_counter() - started) / 1e9
    busy = json.loads((out / "bill.json").read_text())["stages"]["assign"]["busy"]
    own, cores = 2 * len(rows) * full.size / busy / 1e9, len(os.sched_getaffinity(0))
    return (
        f"k-means: {ours / (1 - best / len(rows)) - 1:.2%} above a full run; assigned at {own:.0f} Gflop/s a core, "
        f"{own * cores / speed:.0%} of the {speed / cores:.0f} of a matrix product on all {cores}"
    )


def main() -> None:
    """Run every size and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", default="250000,500000,1000000,2000000")
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--border", default="0.005")
    parser.add_argument("--k-means", action="store_true")
    asked = parser.parse_args()
    for rows in map(int, asked.rows.split(",")):
        shards, out = asked.out / f"shards-{rows}", asked.out / f"pruned-{rows}"
        if not (asked.out / f"source-{rows}.npy").exists():
            np.save(asked.out / f"source-{rows}.npy", made(shards, rows, asked.dims, clusters=max(10, rows // 2000)))
        command = [
            sys.executable,
            "-m",
            "secateur",
            "scale",
            "prune",
            str(shards),
            "--keep",
            "0.3",
            "--force",
            "--json",
        ]
        command += ["--out", str(out), "--workers", str(asked.workers), "--engine", asked.engine]
        command += ["--border", asked.border]
        seconds, most = timed(command)
        hits, wrong = found(out, np.load(asked.out / f"source-{rows}.npy"))
        print(f"\n{rows:,} rows: {seconds:.1f} s, {most / 1e9:.2f} GB, found {hits:.2%}, wrong {wrong:.4%}\n")
        print("| stage | tasks | wall, s | work, s | busy, s | largest worker, GB |\n|---|---|---|---|---|---|")
        for name, cost in json.loads((out / "bill.json").read_text())["stages"].items():
            numbers = " | ".join(f"{cost[key]:.1f}" for key in ("wall", "seconds", "busy"))
            print(f"| {name} | {cost['tasks']} | {numbers} | {cost['peak'] / 1e9:.2f} |", flush=True)
        size = sum(path.stat().st_size for path in (out / "stages").rglob("*") if path.is_file())
        print(f"\nstages hold {size / sum(path.stat().st_size for path in shards.iterdir()):.2f} of the shards' bytes")
        if asked.k_means:
            print(compare_k_means(shards, out), flush=True)


if __name__ == "__main__":
    main()
