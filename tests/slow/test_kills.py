"""Killed anywhere and run again, a job ends with the same bytes, and computes at most one epoch twice."""

import json
import signal
import subprocess
import sys
import textwrap
from collections import Counter

import pytest

pytestmark = pytest.mark.slow

EPOCHS, STEPS = 4, 100  # of the recording run: 512 digits in batches of 21
FIELDS_AN_EPOCH = 13

JOB = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from sklearn.datasets import load_digits

    def die_at(call, owner, name, when=lambda *a, **k: True):
        '''Kill this process the `call`-th time owner.name is called (for which `when` holds).'''
        original, seen = getattr(owner, name), [0]
        def deadly(*args, **kwargs):
            if when(*args, **kwargs):
                seen[0] += 1
                if seen[0] == call:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)
        setattr(owner, name, deadly)

    def into(name):
        return lambda source, target: Path(target).name == name

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    train, test = (images[:512], bunch.target[:512]), (images[-128:], bunch.target[-128:])
    options = dict(test=test, out=sys.argv[1], net="resnet9:0.25", record_epochs=4, epochs=4, quiet=True, threads=1)
    import secateur as sc
    import secateur.training.loop, secateur.training.recorder, secateur.store.files
    import zarr
    {kill}
    {job}
"""
PRUNE = "sc.prune(train, keep=0.3, train=True, **options)"
COMPARE = "sc.compare(train, methods=['dual'], keep=[0.3], distill='off', **options)"

POINTS = {
    "mid-epoch": "die_at(60, sc.Recorder, 'batch')",
    "mid-flush": f"die_at({2 * FIELDS_AN_EPOCH + 6}, zarr.Array, '__setitem__')",
    "between the fields and the count of epochs": "die_at(2, zarr.core.attributes.Attributes, '__setitem__')",
    "between recording and checkpoint": "die_at(3, secateur.training.loop.checkpoint, 'save')",
    "between write and rename of a checkpoint": "die_at(2, os, 'replace', into('record.safetensors'))",
    "between write and rename of what is carried over": "die_at(1, os, 'replace', into('000003.safetensors'))",
    "between write and rename of the proxy": "die_at(1, os, 'replace', into('model.safetensors'))",
    "while the recording is closed": "die_at(1, sc.Recorder, 'close')",
    "between write and rename of the scores": "die_at(1, os, 'replace', into('scores.parquet'))",
    "between write and rename of the subset": "die_at(2, os, 'replace', into('subset.parquet'))",
    "between write and rename of the kept data": "die_at(1, os, 'replace', into('kept'))",
    "mid-training of the student": f"die_at({STEPS + 30}, secateur.training.loop, '_move')",
    "between write and rename of the student": "die_at(2, os, 'replace', into('model.safetensors'))",
    "between write and rename of the result": "die_at(1, os, 'replace', into('result.json'))",
    "between write and rename of the report": "die_at(1, os, 'replace', into('report.html'))",
}
TRACKED = ("recording.zarr", "scores.parquet", "subset.parquet", "kept", "model.safetensors")


def run(out, job=PRUNE, kill=""):
    script = textwrap.dedent(JOB).format(kill=kill, job=job)
    return subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True)


def content(out):
    """Everything that must come out the same: name to bytes, hidden files of other writers included."""
    paths = [p for name in TRACKED for p in [out / name, *(out / name).rglob("*")] if p.is_file()]
    paths += list((out / "cells").rglob("model.safetensors"))
    return {str(p.relative_to(out)): p.read_bytes() for p in paths}


def begun(out):
    """How often each epoch of each stage was begun, from the log."""
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return Counter((e["stage"], e["epoch"]) for e in events if e["event"] == "begin")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    done = run(out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_run_again_a_pruning_ends_with_the_same_bytes(whole, tmp_path, point):
    out = tmp_path / "out"
    killed = run(out, kill=POINTS[point])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = run(out)
    assert done.returncode == 0, done.stderr
    assert content(out).keys() == content(whole).keys()
    for name, before in content(whole).items():
        assert content(out)[name] == before, name
    times = begun(out)
    assert set(times) == set(begun(whole))
    assert sum(times.values()) <= len(times) + 1
    left = [p for p in out.rglob("*") if p.name.endswith(".partial")]
    assert left == []


def test_killed_in_the_middle_of_a_cell_a_comparison_ends_with_the_same_bytes(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(whole, COMPARE).returncode == 0
    # recording 100 steps, full 100, full cut short 55, then random
    killed = run(out, COMPARE, kill=f"die_at({STEPS + 100 + 55 + 30}, secateur.training.loop, '_move')")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert run(out, COMPARE).returncode == 0
    assert content(out) == content(whole)
    times = begun(out)
    assert sum(times.values()) == len(times) + 1


def test_killed_again_and_again_it_gets_there(whole, tmp_path):
    out = tmp_path / "out"
    for call in (30, 40, 50):  # each time some steps into the epochs that are left
        assert run(out, kill=f"die_at({call}, sc.Recorder, 'batch')").returncode == -signal.SIGKILL
    assert run(out).returncode == 0
    assert content(out) == content(whole)
