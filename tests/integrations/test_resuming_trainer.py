"""PruningTrainer goes on from its checkpoints as if nothing had happened, or says why it cannot."""

import numpy as np
import pytest
import torch
import transformers

import secateur as sc
from secateur.errors import SecateurError
from tests.integrations.test_transformers import Named, recording
from tests.integrations.trained import HALVED, HIDING, Dropping, Noisy, fit

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Killed(transformers.TrainerCallback):
    """Breaks after so many steps, and so many more."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **of):
        if state.global_step == self.step:
            raise KeyError("killed")


def resumed(folder, rule, *, after, save, data=Named, callbacks=lambda folder: (), **how):
    """The models after an uninterrupted run, and after one that was killed before step `after` and went on."""
    how = {"lr_scheduler_type": "linear", "save_strategy": "steps", "save_steps": save, "optim": "adamw_torch"} | how
    whole, part = folder / "whole", folder / "part"
    first = fit(whole, rule, model=Dropping(), data=data(), how=how, callbacks=callbacks(whole))
    with pytest.raises(KeyError, match="killed"):
        fit(part, rule, model=Dropping(), data=data(), how=how, callbacks=[*callbacks(part), Killed(after)])
    second = fit(part, rule, model=Dropping(), data=data(), how=how, resume=True, callbacks=callbacks(part))
    assert second.state.log_history[:-1] == first.state.log_history[:-1]
    assert second.state.epoch == first.state.epoch
    assert second.state.global_step == first.state.global_step
    return first.model, second.model


class TestResuming:
    @pytest.mark.parametrize("rule", [HALVED, HIDING, "eps-greedy:every=2", "swap:keep=0.6", "random:keep=0.4"])
    @pytest.mark.parametrize("save", [pytest.param(1, marks=pytest.mark.slow), 3])
    def test_at_any_step_it_ends_as_an_uninterrupted_run_does(self, tmp_path, rule, save):
        first, second = resumed(tmp_path, rule, after=5, save=save, logging_strategy="steps", logging_steps=1)
        assert torch.equal(first.net.weight, second.net.weight)

    def test_in_the_middle_of_steps_of_several_batches_too(self, tmp_path):
        first, second = resumed(tmp_path, HALVED, after=3, save=1, gradient_accumulation_steps=3)
        assert torch.equal(first.net.weight, second.net.weight)

    @pytest.mark.parametrize("rule", [HALVED, HIDING])
    def test_at_the_end_of_an_epoch_rows_may_draw_random_numbers_too(self, tmp_path, rule):
        first, second = resumed(tmp_path, rule, after=5, save=1, save_strategy="epoch", data=Noisy)
        assert torch.equal(first.net.weight, second.net.weight)

    def test_a_recording_goes_on_at_the_end_of_an_epoch(self, tmp_path):
        resumed(tmp_path, HALVED, after=5, save=1, save_strategy="epoch", callbacks=lambda folder: [recording(folder)])
        whole, part = (sc.Recording.open(tmp_path / name / "t.zarr") for name in ("whole", "part"))
        for field in sc.fields.RECORDED:
            np.testing.assert_array_equal(np.asarray(whole[field]), np.asarray(part[field]))

    def test_with_max_steps_too(self, tmp_path):
        first, second = resumed(tmp_path, HALVED, after=6, save=1, max_steps=9)
        assert torch.equal(first.net.weight, second.net.weight)

    def test_in_the_same_process_with_the_same_sampler_too(self, tmp_path):
        trainer = fit(tmp_path, HALVED, how={"lr_scheduler_type": "linear", "save_strategy": "steps", "save_steps": 1})
        ended = trainer.model.net.weight.detach().clone()
        trainer.train(resume_from_checkpoint=str(tmp_path / "trainer" / "checkpoint-5"))
        assert torch.equal(trainer.model.net.weight, ended)


class TestBadInput:
    def test_a_checkpoint_of_another_trainer(self, tmp_path):
        fit(tmp_path, HALVED, how={"save_strategy": "epoch"})
        (tmp_path / "trainer" / "checkpoint-4" / "sampler.pt").unlink()
        with pytest.raises(SecateurError, match="resume_from_checkpoint: .*checkpoint-4 has no sampler.pt; expected a"):
            fit(tmp_path, HALVED, resume=str(tmp_path / "trainer" / "checkpoint-4"))

    def test_a_checkpoint_of_another_rule(self, tmp_path):
        fit(tmp_path, HALVED, how={"save_strategy": "epoch"})
        with pytest.raises(SecateurError, match="state: it is of InfoBatch"):
            fit(tmp_path, HIDING, resume=str(tmp_path / "trainer" / "checkpoint-4"))

    def test_the_middle_of_an_epoch_with_batches_of_another_size(self, tmp_path):
        fit(tmp_path, HALVED, how={"save_strategy": "steps", "save_steps": 1})
        how = {"gradient_accumulation_steps": 2}
        with pytest.raises(SecateurError, match="resume_from_checkpoint: expected epochs as they were, but the one"):
            fit(tmp_path, HALVED, how=how, resume=str(tmp_path / "trainer" / "checkpoint-2"))
        fit(tmp_path, HALVED, how=how, resume=str(tmp_path / "trainer" / "checkpoint-4"))
