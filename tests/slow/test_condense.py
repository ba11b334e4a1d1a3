"""A meaningful run of condensing on the digits, and one that is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import secateur as sc
from secateur.condensation import Real, Synthetic
from secateur.condensation.distribution import features_of
from secateur.condensation.frame import Ground
from secateur.condensation.passes import Passes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dm", {"steps": 200}),
        ("dc", {"steps": 25}),
        ("dsa", {"steps": 25}),
        ("cafe", {"steps": 2, "schedule": (10, 20)}),
        ("idm", {"steps": 40}),
    ],
)
def test_every_method_is_above_random_at_the_same_augmentation(method, more, tmp_path):
    sc.condense("digits", per_class=1, method=method, eval_epochs=200, out=tmp_path / "out", quiet=True, **more)
    rows = json.loads((tmp_path / "out/condense.json").read_text())["rows"]
    found = {row["rows"]: row["accuracy"] for row in rows}
    assert found[method] > found["random"] + 0.05


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


@pytest.mark.parametrize("spec", ["convnet1:0.0625", "mlp:0.1"])
def test_compiled_passes_are_the_plain_ones(spec, few_digits):
    images, classes = few_digits[0]
    real = Real.of(torch.from_numpy(images)[:, None], torch.from_numpy(classes))
    ground = Ground.of(real, torch.Generator().manual_seed(0), net=spec, augment="off")
    plain, compiled, net = Passes(), Passes(compiled=True), ground.fresh_net()
    rows, labels = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    (a, right), (b, hits) = (p.gradients(net, rows, labels) for p in (plain, compiled))
    assert float(right) == float(hits)
    for name in a:
        assert torch.allclose(a[name], b[name], atol=2e-3)  # in bfloat16, rounded at other places
    loss, gradient = compiled.match(net, a, rows[:2], labels[:2])
    aim, expected = plain.match(net, a, rows[:2], labels[:2])
    assert loss.item() == pytest.approx(aim.item(), rel=1e-4)
    assert torch.allclose(gradient, expected, atol=1e-4)
    body = features_of(ground.fresh_net())
    assert torch.allclose(plain.features(body, rows).float(), compiled.features(body, rows).float(), atol=2e-2)
