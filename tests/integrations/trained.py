"""A PruningTrainer that trained, and who listened: for the tests of it."""

import random  # noqa: TID251 - rows may draw from it

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from secateur.dynamic import Sampler
from secateur.integrations.transformers import PruningTrainer
from tests.integrations.conftest import EPOCHS, N
from tests.integrations.test_transformers import Model, Named, arguments

HALVED = "infobatch:drop=0.7"  # the first and the last epoch of three see everything
HIDING = "kakurenbo:hide=0.6,confidence=0,warmup=1"


def fit(folder, rule, *, model=None, data=None, epochs=EPOCHS, callbacks=(), how=(), resume=None, cls=Sampler):
    """The trainer after it trained."""
    sampler = cls(rule, examples=N, epochs=epochs, seed=4, shard=False)
    trainer = PruningTrainer(
        model or Model(), arguments(folder, **dict(how)), train_dataset=data or Named(), callbacks=list(callbacks),
        sampler=sampler,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    return trainer


class Told(transformers.TrainerCallback):
    """The learning rate of each step, and what stood after it."""

    def __init__(self):
        self.rates, self.epochs, self.ends = [], [], []

    def on_pre_optimizer_step(self, args, state, control, **of):
        self.rates.append(of["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args, state, control, **of):
        self.epochs.append(state.epoch)

    def on_epoch_end(self, args, state, control, **of):
        self.ends.append((state.epoch, state.global_step))


class Seen(Sampler):
    """Notes what each epoch visits."""

    def __init__(self, *args, **kwargs):
        self.visits = []
        super().__init__(*args, **kwargs)

    def __iter__(self):
        self.visits.append(list(super().__iter__()))
        return iter(self.visits[-1])


class Noisy(Named):
    """Rows that draw from all three global streams."""

    def __getitem__(self, i):
        row = super().__getitem__(i)
        return row | {"rows": row["rows"] + random.random() + np.random.rand() + torch.rand(())}


class Dropping(Model):
    def forward(self, rows, labels=None):
        return super().forward(F.dropout(rows, 0.3, self.training), labels)
