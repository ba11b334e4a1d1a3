"""Under torchrun, two ranks of PruningTrainer share one plan out and train as one process does on twice the batch."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

pytestmark = pytest.mark.slow

N, EPOCHS = 101, 4

LOOP = """
    import sys
    import torch, transformers
    import torch.nn.functional as F
    from secateur.dynamic import Sampler
    from secateur.integrations.transformers import PruningTrainer

    path, rule, batch, whole = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "whole"
    torch.set_num_threads(1)
    N, EPOCHS = {numbers}
    rows = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))

    class Rows(torch.utils.data.Dataset):
        def __len__(self): return N
        def __getitem__(self, i): return dict(id=i, rows=rows[i], labels=i % 3)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(5, 3)
            with torch.no_grad():
                self.net.weight.copy_(torch.linspace(-1, 1, 15).view(3, 5))
                self.net.bias.zero_()
        def forward(self, rows, labels=None):
            logits = self.net(rows)
            return dict(loss=F.cross_entropy(logits, labels), logits=logits)

    told = []
    class Telling(Sampler):  # what this rank trained on, epoch by epoch, and what it counted
        def __iter__(self):
            told.append(dict(plan=self.plan(self._next).ids.tolist(), visits=[], rates=[]))
            return super().__iter__()

    class Trainer(PruningTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            ids = inputs["id"]
            shares = torch.ones(len(ids)) if self._shares is None else self._shares[ids]
            told[-1]["visits"] += zip(ids.tolist(), shares.tolist())
            return super().compute_loss(model, inputs, *args, **kwargs)

    class Rates(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **of):
            told[-1]["rates"].append(of["optimizer"].param_groups[0]["lr"])

    def fit(resume=None):
        args = transformers.TrainingArguments(
            path, num_train_epochs=EPOCHS, per_device_train_batch_size=batch, learning_rate=0.5, optim="sgd",
            max_grad_norm=0.0, lr_scheduler_type="linear", use_cpu=True, report_to=[], disable_tqdm=True,
            remove_unused_columns=False, save_strategy="steps", save_steps=5, logging_strategy="no",
            dataloader_drop_last=whole, ddp_backend="gloo",
        )
        sampler = Telling(rule, examples=N, epochs=EPOCHS, seed=3, shard=False)
        trainer = Trainer(Model(), args, train_dataset=Rows(), sampler=sampler, callbacks=[Rates()])
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    trainer = fit()
    whole_run, weight = list(told), trainer.model.net.weight.detach().clone()
    again = fit(path + "/checkpoint-5").model.net.weight.detach()
    out = dict(epochs=whole_run, weight=weight, again=again, ended=trainer.state.epoch)
    torch.save(out, f"{{path}}.{{trainer.args.process_index}}")
    if torch.distributed.is_initialized():  # or its threads may abort a process that has done all it should
        torch.distributed.destroy_process_group()
"""


def run(path, ranks, rule, *, batch, whole):
    """What each rank says of its run."""
    script = path.parent / "loop.py"
    script.write_text(textwrap.dedent(LOOP).format(numbers=(N, EPOCHS)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", "0"]
    command = [*launch, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script), str(path), rule]
    done = subprocess.run(
        [*command, str(batch), "whole" if whole else "filled"], capture_output=True, text=True, timeout=500,
        env={**os.environ, "WANDB_DISABLED": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [torch.load(f"{path}.{rank}", weights_only=True) for rank in range(ranks)]


@pytest.mark.parametrize("rule", ["infobatch:drop=0.7", "kakurenbo:hide=0.5,confidence=0,warmup=1"])
def test_two_ranks_train_as_one_process_with_batches_twice_as_large(tmp_path, rule):
    (one,) = run(tmp_path / "one", 1, rule, batch=8, whole=True)
    a, b = run(tmp_path / "two", 2, rule, batch=4, whole=True)
    for alone, first, second in zip(one["epochs"], a["epochs"], b["epochs"], strict=True):
        assert alone["plan"] == first["plan"] == second["plan"]
        visited = [i for i, _ in first["visits"] + second["visits"]]
        assert len(set(visited)) == len(visited) == len(alone["plan"]) // 8 * 8
        assert set(visited) == {i for i, _ in alone["visits"]}
        assert alone["rates"] == first["rates"] == second["rates"]
    assert len({len(epoch["plan"]) for epoch in one["epochs"]}) > 1
    assert torch.equal(a["weight"], b["weight"])
    torch.testing.assert_close(a["weight"], one["weight"], atol=1e-5, rtol=1e-4)
    assert torch.equal(a["again"], a["weight"])  # which went on from step 5
    assert a["ended"] == b["ended"] == one["ended"] == EPOCHS


def test_examples_that_fill_up_the_last_batch_count_once_in_all(tmp_path):
    a, b = run(tmp_path / "two", 2, "infobatch:drop=0.7", batch=4, whole=False)
    for first, second in zip(a["epochs"], b["epochs"], strict=True):
        total = dict.fromkeys(first["plan"], 0.0)
        for i, share in first["visits"] + second["visits"]:
            total[i] += share
        assert total == pytest.approx(dict.fromkeys(first["plan"], 1.0))
        assert len(first["visits"]) == len(second["visits"])
    assert torch.equal(a["weight"], b["weight"])
    assert torch.equal(a["again"], a["weight"])
