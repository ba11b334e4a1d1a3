"""What recording costs a training step, paired in one process: every other step of the real loop is recorded.

    SECATEUR_DATA=DIR python benchmarks/recorder.py [--nets resnet9,resnet18] [--steps 200,30]

A step is the time from the end of one to the end of the next. `recorder` is the time inside `Recorder.batch` itself,
with every field on. The flush at the end of an epoch is measured apart and spread over the steps of an epoch.
"""

import argparse
import math
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from torch import Tensor

import secateur as sc
from secateur.study.session import session
from secateur.training.loop import train
from secateur.training.recipes import RECIPES
from secateur.training.sampling import Shuffled

WARM_UP = 6


class EveryOther:
    """Passes every other batch on to a recorder, and times every step."""

    def __init__(self, recorder: sc.Recorder) -> None:
        self.recorder = recorder
        self.steps: list[float] = []
        self.inside: list[float] = []
        self.flush = math.nan
        self._ended = time.perf_counter()

    def batch(self, ids: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Record it if it is an odd one."""
        entered = time.perf_counter()
        if len(self.steps) % 2:
            self.recorder.batch(ids, logits, labels)
        ended = time.perf_counter()
        self.steps.append(ended - self._ended)
        self.inside.append(ended - entered)
        self._ended = ended

    def end_epoch(self) -> None:
        """Time the flush."""
        started = time.perf_counter()
        self.recorder.end_epoch()
        self.flush = time.perf_counter() - started


def measure(net_name: str, steps: int, data: str, folder: Path) -> str:
    """One line of the table."""
    with session(data, folder / f"{net_name}-out", quiet=True) as work:
        recipe = RECIPES["sgd"].for_data(len(work.source.train.usable), work.train.shape)
        net = work.build_net(net_name, seed=0, whiten=False)
        recorder = sc.Recorder(folder / f"{net_name}.zarr", examples=len(work.source.train))
        timed = EveryOther(recorder)
        sampler = Shuffled(work.source.train.usable, 0)
        train(net, work.train, recipe, steps=steps, sampler=sampler, seed=0, recorder=timed)
        an_epoch = math.ceil(len(work.source.train.usable) / recipe.batch)
    plain, recorded = np.array(timed.steps[WARM_UP::2]), np.array(timed.steps[WARM_UP + 1 :: 2])
    pairs = min(len(plain), len(recorded))
    ratios = recorded[:pairs] / plain[:pairs]
    inside = np.median(timed.inside[WARM_UP + 1 :: 2])
    share, flush = inside / np.median(plain), timed.flush / an_epoch / np.median(plain)
    return (
        f"| {net_name} | {pairs} | {np.median(plain):.4f} | {np.median(recorded):.4f} | {np.median(ratios) - 1:+.1%} "
        f"| {1000 * inside:.2f} ms, {share:.2%} | {timed.flush:.2f} s, {flush:.2%} |"
    )


def main() -> None:
    """Measure every net."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="resnet9,resnet18")
    parser.add_argument("--steps", default="99,41")
    asked = parser.parse_args()
    data = str(Path(os.environ["SECATEUR_DATA"]) / "cifar10")
    print("| net | pairs of steps | plain, s | recorded, s | median of the pairs | recorder | flush |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in zip(asked.nets.split(","), asked.steps.split(","), strict=True):
            print(measure(name, int(steps), data, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
