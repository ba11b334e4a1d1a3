"""Two drivers with other options on one OUT of an object store: `python -m tests.scale.races --races 50 --kills 20`.

A line a case; a silent disagreement is a driver that reports success while run.json, the manifest and the kept ids
differ from each other, or from what the last driver that succeeded said.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from secateur.scale.claim import results, told
from secateur.scale.storage import Place
from tests.scale.made import made, write
from tests.scale.store import serving

ROOT = Path(__file__).parents[2]
DRIVER = """
import json, sys, time
from secateur.errors import SecateurError
from secateur.scale import Clustering, How, prune
shards, out, keep, seed, take = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
try:
    found = prune(shards, out=out, keep=float(keep), clustering=Clustering(clusters=4, unit_rows=64, seed=int(seed)),
                  write=["shards", "keys"], workers=1, quiet=True, claiming=How(take_over=take == "1"))
except SecateurError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(1)
print(json.dumps({"kept": found.kept, "files": found.files, "at": time.monotonic()}), flush=True)
"""


def few_shards(folder):
    """120 rows in two shards."""
    return write(Path(folder) / "shards", made(120, blobs=4, planted=5), shards=2)


class Driver:
    """A `scale prune` of its own process, which waits for `go`."""

    def __init__(self, shards, out, keep, seed=0, take_over=False, ttl=1.0):
        given = [sys.executable, "-c", DRIVER, shards, out, str(keep), str(seed), str(int(take_over))]
        env = os.environ | {"SECATEUR_LEASE_TTL": str(ttl), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(given, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.keep = keep
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, timeout=400):
        """What it said: kept and files, an error, or that it was killed."""
        said, wrong = self.process.communicate(timeout=timeout)
        if self.process.returncode == -signal.SIGKILL:
            return {"killed": True}
        assert self.process.returncode in (0, 1), wrong
        assert said, wrong
        return json.loads(said)


def disagreements(out, last):
    """What is wrong in OUT after the last driver that succeeded said this; nothing where all is as it should be."""
    about = told(Place(out))
    files = results(Place(out), about)
    manifest, ids, kept = (_rows(files / name) for name in ("manifest.parquet", "kept_ids.parquet", "kept"))
    with (files / "kept_keys.txt").open() as file:
        keys = len(file.read().splitlines())
    marked = [i for i, k in zip(manifest["id"], manifest["kept"], strict=True) if k]
    found = {
        "said": last["kept"], "run.json": about["result"]["kept"], "manifest": len(marked), "ids": len(ids["id"]),
        "kept": len(kept["id"]), "keys": keys,
    }  # fmt: skip
    same = sorted(marked) == sorted(ids["id"]) == sorted(kept["id"]) and files.url == last["files"]
    whole = len(manifest["id"]) == about["rows"] == len(set(manifest["id"]))
    return "" if len(set(found.values())) == 1 and same and whole else f"{found} {files.url} {last}"


def _rows(folder):
    columns = {}
    for name in folder.names():
        with (folder / name).open() as file:
            for column, values in pq.read_table(file).to_pydict().items():
                columns.setdefault(column, []).extend(values)
    return columns


def race(shards, out, rng):
    """Both at once, one of them stopped for longer than a ttl at a random moment in half of the cases."""
    keeps, seeds = rng.choice([0.2, 0.3, 0.4, 0.45], 2, replace=False), rng.integers(2, size=2)
    take, stops = bool(rng.random() < 0.3), bool(rng.random() < 0.5)
    one = Driver(shards, out, float(keeps[0]), int(seeds[0]))
    two = Driver(shards, out, float(keeps[1]), int(seeds[1]), take_over=take)
    one.go()
    time.sleep(float(rng.uniform(0, 2.5)))
    if stops:
        one.signal(signal.SIGSTOP)
    two.go()
    if stops:
        time.sleep(float(rng.uniform(1.5, 6)))
        one.signal(signal.SIGCONT)
    return _told([one.end(), two.end()], out, f"stopped={stops} take-over={take}")


def kill(shards, out, rng):
    """The first is killed at a random moment, and a second is started at once."""
    one, two = Driver(shards, out, 0.3), Driver(shards, out, 0.4)
    one.go()
    time.sleep(float(rng.uniform(0, 4)))
    one.signal(signal.SIGKILL)
    two.go()
    return _told([one.end(), two.end()], out, "killed")


def _told(ends, out, how):
    done = sorted((end for end in ends if "kept" in end), key=lambda end: end["at"])
    wrong = disagreements(out, done[-1]) if done else ""
    said = " / ".join("done" if "kept" in e else "killed" if "killed" in e else _short(e["error"]) for e in ends)
    return said, wrong, how


def _short(error):
    if "is running" in error:
        return "refused"
    return "lost" if "took" in error else f"error: {error[:150]}"


def main(arguments=None):
    given = argparse.ArgumentParser()
    given.add_argument("--races", type=int, default=50)
    given.add_argument("--kills", type=int, default=20)
    given.add_argument("--seed", type=int, default=0)
    asked = given.parse_args(arguments)
    wrongs, counts = [], Counter()
    with ExitStack() as held:
        held.enter_context(serving())
        shards = few_shards(held.enter_context(tempfile.TemporaryDirectory()))
        for kind, many, play in (("race", asked.races, race), ("kill", asked.kills, kill)):
            for number in range(many):
                rng = np.random.default_rng([asked.seed, number, len(kind)])
                said, wrong, how = play(shards, f"s3://bucket/{kind}{number}", rng)
                print(f"{kind} {number:02d} {how}: {said}; {wrong or 'agrees'}", flush=True)
                counts[kind, said] += 1
                wrongs += [wrong] if wrong or "error" in said or (kind == "kill" and "done" not in said) else []
    print("\n| case | first / second | times |\n| --- | --- | --- |")
    print("\n".join(f"| {kind} | {said} | {count} |" for (kind, said), count in sorted(counts.items())))
    print(f"\n{asked.races} races, {asked.kills} kills: {len(wrongs)} silent disagreements or unexpected ends")
    return len(wrongs)


if __name__ == "__main__":
    sys.exit(bool(main()))
