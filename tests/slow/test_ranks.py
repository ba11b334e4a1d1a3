"""Under torch.distributed, two ranks record what one does, and what a sampler repeats counts once."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import secateur as sc
from secateur.fields import RECORDED

pytestmark = pytest.mark.slow

N, CLASSES, EPOCHS = 101, 5, 3  # an odd number: DistributedSampler repeats one example an epoch

LOOP = """
    import os, sys
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, Dataset, DistributedSampler
    import secateur as sc

    path, frozen, noisy = sys.argv[1], sys.argv[2] == "frozen", sys.argv[2] == "noisy"
    N, CLASSES, EPOCHS = {numbers}

    class Rows(Dataset):
        x = torch.randn(N, 8, generator=torch.Generator().manual_seed(0))
        y = torch.arange(N) % CLASSES
        def __len__(self): return N
        def __getitem__(self, i): return i, self.x[i], self.y[i]

    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    rank, world = dist.get_rank(), dist.get_world_size()
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        net = torch.nn.Linear(8, CLASSES)
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0 if frozen or noisy else 0.5)
    sampler = DistributedSampler(Rows(), shuffle=True, seed=1)
    loader = DataLoader(Rows(), batch_size=8, sampler=sampler)
    recorder = sc.Recorder(path, examples=N, classes=CLASSES)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for ids, x, y in loader:
            logits = model(x)
            if noisy:  # augmentation that differs from rank to rank
                logits = logits + 10 * rank
            torch.nn.functional.cross_entropy(logits, y).backward()
            optimizer.step()
            optimizer.zero_grad()
            recorder.batch(ids, logits, y)
        recorder.end_epoch()
    recorder.close()
    dist.destroy_process_group()
"""


def run(path, ranks, how):
    script = path.parent / "loop.py"
    script.write_text(textwrap.dedent(LOOP).format(numbers=(N, CLASSES, EPOCHS)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", "0"]
    command = [*launch, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script), str(path), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return sc.Recording.open(path)


def test_one_rank_and_two_with_frozen_weights_record_the_same_rows(tmp_path):
    one, two = run(tmp_path / "one.zarr", 1, "frozen"), run(tmp_path / "two.zarr", 2, "frozen")
    for field in RECORDED:
        a, b = np.asarray(one[field], dtype=float), np.asarray(two[field], dtype=float)
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=field)


def test_in_training_two_ranks_cover_every_example_once_an_epoch(tmp_path):
    recording = run(tmp_path / "two.zarr", 2, "training")
    assert recording.epochs == EPOCHS
    assert np.asarray(recording["seen"]).all()
    np.testing.assert_array_equal(recording["labels"], np.arange(N) % CLASSES)
    loss = np.asarray(recording["loss"])
    assert loss[-1].mean() < loss[0].mean()


def test_an_example_that_both_ranks_saw_is_the_lower_ranks(tmp_path):
    """The repeated example has two versions: nobody mixes or adds them."""
    clean, noisy = run(tmp_path / "clean.zarr", 2, "frozen"), run(tmp_path / "noisy.zarr", 2, "noisy")
    shift = np.asarray(noisy["z_target"])[0] - np.asarray(clean["z_target"])[0]
    assert set(shift.round(3)) == {0.0, 10.0}
    assert (shift < 5).sum() == 51  # rank 0 has 51 of 102 draws, the repeated one among them


RULE_LOOP = """
    import json, sys
    import torch
    import torch.distributed as dist
    from torch.utils.data import DataLoader
    import secateur as sc

    N, path, rule = 101, sys.argv[1], sys.argv[2]
    x = torch.randn(N, generator=torch.Generator().manual_seed(0)).abs()
    dist.init_process_group("gloo")
    sampler = sc.dynamic.Sampler(rule, examples=N, epochs=8, seed=3)
    out = []
    for epoch in range(6):  # frozen weights: a loss goes by the example and the epoch alone
        if len(due := sampler.due):
            ids = torch.from_numpy(due)[dist.get_rank()::dist.get_world_size()]
            sampler.report(ids, x[ids], correct=ids % 9 > 0, confidence=torch.ones(len(ids)))
        visits = []
        for ids in DataLoader(range(N), 8, sampler=sampler):
            visits += zip(ids.tolist(), sampler.weights(ids).tolist())
            sampler.report(ids, x[ids] * ((ids + epoch) % 3 + 1), correct=ids % 9 > 0, confidence=torch.ones(len(ids)))
        out.append(visits)
    if dist.get_rank() == 0:
        json.dump(sampler.plan(5).ids.tolist(), open(path + ".plan", "w"))
    json.dump(out, open(f"{path}.{dist.get_rank()}", "w"))
    dist.destroy_process_group()
"""


def run_rule(path, ranks, rule):
    """What each rank visited, with weights, epoch by epoch."""
    script = path.parent / "rule.py"
    script.write_text(textwrap.dedent(RULE_LOOP))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", "0"]
    command = [*launch, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script), str(path), rule]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(Path(f"{path}.{rank}").read_text()) for rank in range(ranks)]


@pytest.mark.parametrize("rule", ["infobatch:drop=0.4", "kakurenbo:hide=0.5", "eps-greedy:every=2"])
def test_one_rank_and_two_with_frozen_weights_visit_and_weigh_the_same(tmp_path, rule):
    (one,), (a, b) = run_rule(tmp_path / "one", 1, rule), run_rule(tmp_path / "two", 2, rule)
    for epoch, (whole, first, second) in enumerate(zip(one, a, b, strict=True)):
        assert len(first) == len(second)
        total = dict.fromkeys(range(N), 0.0)
        for i, weight in first + second:
            total[i] += weight
        expected = dict.fromkeys(range(N), 0.0) | dict(whole)
        assert total == pytest.approx(expected), epoch
    assert len({len(epoch) for epoch in one}) > 1 or rule.startswith("eps")


SELECTING = """
    import os, sys
    import numpy as np
    import torch.distributed as dist
    import secateur as sc

    dist.init_process_group("gloo")
    scores = sc.score(sys.argv[1], method="el2n")
    subset = sc.select_from(sys.argv[1], method="el2n", keep=0.3)
    np.save(f"{sys.argv[1]}/ids-{dist.get_rank()}.npy", subset.ids)
    try:
        sc.select_from(sys.argv[1], method="el2n", keep=0.3, must_keep=[10**6])
    except sc.SecateurError:
        open(f"{sys.argv[1]}/refused-{dist.get_rank()}", "w").close()
    dist.destroy_process_group()
"""


def test_every_rank_selects_and_gets_the_same(tmp_path):
    run(tmp_path / "recording.zarr", 1, "training")
    script = tmp_path / "choosing.py"
    script.write_text(textwrap.dedent(SELECTING))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3", "--rdzv-backend", "c10d"]
    command = [*launch, "--rdzv-endpoint", "localhost:0", str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ids = [np.load(tmp_path / f"ids-{rank}.npy") for rank in range(3)]
    assert (
        ids[0].tolist()
        == ids[1].tolist()
        == ids[2].tolist()
        == sc.Subset.open(tmp_path / "subset.parquet").ids.tolist()
    )
    assert all((tmp_path / f"refused-{rank}").exists() for rank in range(3))
