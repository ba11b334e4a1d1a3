"""What every job shares: an OUT folder, a data set, a device, someone to tell."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.data.source import Source, Split, open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError, WrongData
from secateur.progress import Progress
from secateur.store.files import foreseen
from secateur.study.out import Out
from secateur.training.loop import Position, Watch
from secateur.training.machine import pick_device
from secateur.training.nets import Normalised, build, default_net
from secateur.training.seeding import rng

_SAMPLE = 5000
"""Examples that the normalisation and the whitening filters are estimated from."""


@dataclass(frozen=True)
class Session:
    """One job at work."""

    out: Out
    source: Source
    device: torch.device
    progress: Progress
    named: tuple[str, ...] = ()
    """The nets that the user named in this call: of nets that do not come with secateur, a file may hold only these."""

    def beside(self, out: Out) -> "Session":
        """The same job in another folder, with the data that are read already."""
        other = replace(self, out=out)
        read = ("train", "test", "_sample", "statistics")
        vars(other).update({name: value for name, value in vars(self).items() if name in read})
        return other

    @cached_property
    def train(self) -> Tensors:
        """The train split as tensors."""
        return Tensors(self.source.train, self.device)

    @cached_property
    def test(self) -> Tensors:
        """The test split as tensors; an error where there is none."""
        return Tensors(self.test_split(), self.device)

    def test_split(self) -> Split:
        """The test split as it came in; an error where there is none."""
        if self.source.test is None:
            raise SecateurError(
                "test: the data has no test split; name a split with --test, or lay images out as train/CLASS and "
                "test/CLASS; `compare` holds out a fifth of the train split"
            )
        return self.source.test

    def net_name(self, asked: str | None) -> str:
        """The net asked for, or the default for this data and device."""
        return asked or default_net(self.train.shape, self.device)

    @cached_property
    def _sample(self) -> Tensor:
        ids = self.source.train.usable
        return self.train.sample(np.sort(rng(0, "sample").permutation(ids)[:_SAMPLE]))

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and spread a channel (a dimension, for vectors) of a fixed sample of the train split."""
        rows = self._sample.double()
        axes = (0, 2, 3) if rows.ndim == 4 else (0,)
        spread = rows.std(dim=axes).clamp_min(1e-6)  # a constant channel stays constant
        return rows.mean(dim=axes).float(), spread.float()

    def watch(self, stage: str, advance: Callable[[int, int], None]) -> Watch:
        """Show the progress of a training run, and log where each of its epochs begins and ends."""

        def begin(epoch: int) -> None:
            self.out.log("begin", stage=stage, epoch=epoch)

        def end(at: Position, loss: float) -> None:
            self.out.log("epoch", stage=stage, epoch=at.epoch - 1, step=at.step, loss=loss, seconds=at.seconds)

        return Watch(begin, advance, end)

    def build_net(self, spec: str, *, seed: int, whiten: bool, classes: int | None = None) -> Normalised:
        """A fresh net on the device, started from the whitening filters of the data where asked and possible.

        classes: its outputs, by default the classes of the data.
        """
        mean, spread = self.statistics
        outputs = self.train.classes if classes is None else classes
        net = build(spec, shape=self.train.shape, classes=outputs, mean=mean, spread=spread, seed=seed)
        net = net.to(self.device)
        start = getattr(net.body, "whiten", None)
        if whiten and start is not None:
            start(net.normalise(self._sample))
        return net


@contextmanager
def session(
    data: Any,
    out: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    quiet: bool = False,
    held_out: float = 0.0,
    validate: bool = False,
    needs_labels: bool = True,
    reading: Mapping[str, Any] | None = None,
    named: Sequence[str | None] = (),
) -> Iterator[Session]:
    """Open the data, claim OUT and lock it for the time of the job; OUT stays nobody's where the job writes nothing.

    held_out: the part of the train split to hold out where there is no test split, or in place of it (`validate`);
    out of data without labels, where the job does not need any, nothing is. named: the nets that the user named.
    """
    progress = Progress(quiet=quiet)
    chosen = pick_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    folder = Out(Path(out))
    options = dict(reading or {})
    with progress.stage("reading") as advance, foreseen("reading the data"):
        source = open_data(data, **options, progress=lambda what, done, total: advance(done, total))
    tell(progress, source)
    if held_out and (needs_labels or source.labelled):
        if source.test is None:
            progress.say(f"no test split: a seeded {held_out:.0%} of the train split is held out to test on")
        source = with_test(source, held_out, always=validate)
    told = {k: v for k, v in options.items() if v is not None and isinstance(v, (str, int))}
    about = {
        "name": source.name,
        "form": source.form,
        "fingerprint": source.fingerprint,
        "examples": len(source.train),
        "usable": len(source.train.usable),
        "classes": list(source.classes),
        "labelled": source.labelled,
        "reading": told,
    }
    if force and source.root is not None and Path(os.path.realpath(source.root)).is_relative_to(os.path.realpath(out)):
        raise WrongData(
            f"out: the data ({source.root}) lie in {out}, which --force would replace; choose another --out"
        )
    with foreseen(), folder.claimed(about, force=force):
        yield Session(folder, source, chosen, progress, tuple(net for net in named if net is not None))


def tell(progress: Progress, source: Source, *, what: str = "") -> None:
    """Say what the data were understood as, and what of them is ignored; what: goes before each line."""
    for line in (source.told, source.ignored):
        if line:
            progress.say(f"{what}{line}")


def with_test(source: Source, fraction: float, *, always: bool = False) -> Source:
    """The source itself if it has a test split; else, or `always`, one that holds out a part of its train split."""
    from secateur.data.parts import hold_out

    return hold_out(source, fraction, rng(0, "held out")) if always or source.test is None else source
