"""A meaningful run of condensing on the digits, and one that is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import secateur as sc
from secateur.condensation import Synthetic

pytestmark = pytest.mark.slow


def test_dm_is_above_random_at_the_same_augmentation(tmp_path):
    sc.condense("digits", per_class=1, steps=200, eval_epochs=200, out=tmp_path / "out", quiet=True)
    rows = json.loads((tmp_path / "out/condense.json").read_text())["rows"]
    found = {row["rows"]: row["accuracy"] for row in rows}
    assert found["dm"] > found["random"] + 0.05


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    command = [
        sys.executable,
        "-m",
        "secateur",
        "condense",
        "digits",
        "--per-class",
        "1",
        "--steps",
        "120",
        "--every",
        "10",
    ]
    command += ["--net", "convnet3:0.25", "--no-evaluate", "--threads", "1", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    running = subprocess.Popen(
        [*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    state = tmp_path / "killed/state/condense.safetensors"
    until = time.monotonic() + 120
    while not state.exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert Synthetic.about(tmp_path / "killed/synthetic.safetensors")["step"] < 120
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    ours, whole = ((tmp_path / name / "synthetic.safetensors").read_bytes() for name in ("killed", "whole"))
    assert ours == whole
