"""Progressive Teacher: who is believed, who is followed, what the pool is for."""

import contextlib
import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import secateur as sc
from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.study import cell
from secateur.training import progressive
from secateur.training.aims import aim
from secateur.training.loop import Watch, train
from secateur.training.nets import build, load_net
from secateur.training.objective import Material
from secateur.training.progressive import Progressive, ProgressiveTeacher
from secateur.training.recipes import recipe
from secateur.training.sampling import Shuffled
from tests.data.made import image_table, pixels

CPU = torch.device("cpu")
HOW = {"net": "resnet9:0.25", "epochs": 4, "quiet": True, "threads": 1}


def material(spec="resnet9:0.25", pool=None, changes=",flip=0"):
    data = Tensors(open_data(image_table(24)).train, CPU, workers=0)
    chosen = recipe(f"sgd:batch=8,smoothing=0{changes}")
    chosen = dataclasses.replace(chosen, views=chosen.views.for_shape(data.shape))
    net = build(spec, shape=(3, 8, 8), classes=3, mean=torch.full((3,), 127.0), spread=torch.full((3,), 70.0), seed=0)
    return Material(net, data, chosen, 0, unlabelled=pool)


@pytest.fixture
def exact(monkeypatch):
    """Losses to be compared with those worked out by hand are of float32 products."""
    monkeypatch.setattr(progressive, "autocast", lambda device: contextlib.nullcontext())


def pool_of(n, memory=None):
    """A pool of images that the data do not have, without labels."""
    images = np.stack([pixels(100 + i) for i in range(n)])
    return Tensors(open_data(images, memory=memory).train, CPU, workers=0)


def run(how, given, steps=6, **options):
    objective = how.objective(given)
    sampler = Shuffled(given.data.usable, 0)
    train(given.net, given.data, given.recipe, steps=steps, sampler=sampler, seed=0, objective=objective, **options)
    return objective


def batch(given):
    ids = torch.arange(8)
    return ids, given.data.sample(ids.numpy())


def test_labels_are_believed_less_until_the_noise_is_out():
    how = Progressive(noise=0.2, ramp=0.5)
    assert [how.clean(p) for p in (0.0, 0.25, 0.9)] == pytest.approx([1.0, 0.9, 0.8])


def test_agreement_counts_more_and_more():
    how = Progressive(weight=2.0, rise=0.4)
    assert [how.pull(p) for p in (0.0, 0.2, 0.4)] == pytest.approx([2 * math.exp(-5), 2 * math.exp(-1.25), 2.0])


def test_the_teacher_is_a_running_mean_of_the_weights():
    given = material("mlp")
    teacher = Progressive().objective(given)
    expected = [p.clone() for p in given.net.parameters()]
    for step, kept in ((1, 2 / 11), (2, 3 / 12), (3, 4 / 13)):
        with torch.no_grad():
            for k, p in enumerate(given.net.parameters()):
                p += step * (k + 1)
        teacher.stepped()
        expected = [kept * e + (1 - kept) * p for e, p in zip(expected, given.net.parameters(), strict=True)]
    for e, p in zip(expected, teacher.best(given.net).parameters(), strict=True):
        torch.testing.assert_close(p, e)


def test_the_paper_s_decay_is_reached_by_long_runs_alone():
    assert [Progressive().follow(step) for step in (90, 8990, 10**6)] == pytest.approx([0.91, 0.999, 0.999])


def test_what_the_teacher_doubts_has_no_part_in_the_cross_entropy(exact):
    given = material("mlp")
    teacher = Progressive(noise=0.5, weight=0.0).objective(given)
    with torch.no_grad():
        teacher.teacher.body.head.weight.mul_(-1.0)  # it believes other labels than the net would
    ids, rows = batch(given)
    teacher.at(1.0)
    answer = teacher(ids, rows)
    labels, doubts = given.data.labels[ids], []
    for row, label in zip(rows, labels, strict=True):
        doubts.append(-teacher.teacher(row[None]).log_softmax(1)[0, label].item())
    believed = sorted(range(8), key=lambda i: doubts[i])[:4]
    by_hand = F.cross_entropy(given.net(rows[believed]), labels[believed])
    assert (answer.loss == 0).sum() == 4
    torch.testing.assert_close(answer.loss.mean(), by_hand)
    got, wanted = (torch.autograd.grad(x, given.net.body.head.weight)[0] for x in (answer.loss.mean(), by_hand))
    torch.testing.assert_close(got, wanted)


def test_all_rows_agree_with_the_teacher_doubted_and_unlabelled_ones_too(exact):
    pool = pool_of(5)
    given = material("mlp", pool)
    teacher = Progressive(noise=0.5, weight=3.0, size=5).objective(given)
    with torch.no_grad():
        teacher.teacher.body.head.weight.mul_(-1.0)
    ids, rows = batch(given)
    teacher.at(1.0)
    with_pool, total = teacher(ids, rows).loss.mean(), 0.0
    for row in torch.cat((rows, pool.sample(pool.usable))):
        p, q = (n(row[None]).softmax(1)[0] for n in (given.net, teacher.teacher))
        total += sum((a - b) ** 2 for a, b in zip(p.tolist(), q.tolist(), strict=True))
    teacher.how = dataclasses.replace(teacher.how, weight=0.0)
    torch.testing.assert_close(with_pool - teacher(ids, rows).loss.mean(), torch.tensor(3.0 * total / 13))


def test_the_teacher_learns_nothing_from_the_loss():
    given = material(pool=pool_of(9))
    teacher = Progressive().objective(given)
    teacher(*batch(given)).loss.mean().backward()
    assert all(p.grad is None for p in teacher.teacher.parameters())
    assert all(p.grad is not None for p in given.net.parameters())


def test_net_and_teacher_see_views_of_their_own():
    given = material("mlp", changes=",crop=2")
    teacher, seen = Progressive().objective(given), []
    for net in (given.net, teacher.teacher):
        net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    teacher(*batch(given))
    assert len(seen) == 2
    assert not torch.equal(*seen)


class Stop(Exception):
    pass


@pytest.mark.parametrize("memory", [None, 1])
def test_a_run_stopped_after_an_epoch_ends_with_the_same_teacher_to_the_bit(tmp_path, memory):
    how, state = Progressive(noise=0.3, size=5), tmp_path / "state.safetensors"
    whole, parts = material(pool=pool_of(17)), material(pool=pool_of(17, memory))
    expected = run(how, whole).state_dict()

    def stop(at, loss):
        raise Stop

    with pytest.raises(Stop):
        run(how, copy.deepcopy(parts), save_to=state, watch=Watch(epoch=stop))
    found = run(how, parts, save_to=state).state_dict()
    assert found["step"] == 6
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    for a, b in zip(whole.net.state_dict().values(), parts.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_every_row_of_the_pool_is_seen_before_any_again_and_each_time_in_another_order():
    pool = pool_of(10)
    plans, original = [], pool.batches
    pool.batches = lambda plan: plans.append([ids.tolist() for ids in plan]) or original(plan)
    run(Progressive(size=4), material(pool=pool))  # 3 batches a lap, 3 steps an epoch of the data
    assert len(plans) == 2
    assert [[len(ids) for ids in lap] for lap in plans] == [[4, 3, 3]] * 2
    flat = [[i for ids in lap for i in ids] for lap in plans]
    assert [sorted(lap) for lap in flat] == [list(range(10))] * 2
    assert flat[0] != flat[1]


def test_the_global_streams_are_left_alone():
    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    run(Progressive(noise=0.3), material(pool=pool_of(9), changes=",crop=1"))
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()


def teach(few_digits, out, **options):
    (images, labels), test = few_digits
    return sc.train((images[:256], labels[:256]), test=test, out=out, **{**HOW, **options})


def test_labels_in_the_pool_are_not_looked_at(few_digits, tmp_path):
    (images, labels), _ = few_digits
    how = {"objective": "progressive", "epochs": 1, "recipe": "fast:crop=1"}
    folders = [
        teach(few_digits, tmp_path / str(k), unlabelled=pool, **how).folder
        for k, pool in enumerate([(images[256:], labels[256:]), (images[256:], 9 - labels[256:]), images[256:]])
    ]
    assert len(set(folders)) == 1
    models = [(tmp_path / str(k) / "cells" / folders[0] / "model.safetensors").read_bytes() for k in range(3)]
    assert models[0] == models[1] == models[2]


def test_the_teacher_is_what_is_tested_and_kept(few_digits, tmp_path, monkeypatch):
    asked, original = [], ProgressiveTeacher.best
    monkeypatch.setattr(ProgressiveTeacher, "best", lambda self, net: asked.append((self, net)) or original(self, net))
    tested, measure = [], cell.accuracy
    monkeypatch.setattr(cell, "accuracy", lambda net, data: tested.append(net) or measure(net, data))
    result = teach(few_digits, tmp_path, objective="progressive", epochs=1)
    ((objective, net),) = asked
    assert tested == [objective.teacher]
    kept = load_net(tmp_path / "cells" / result.folder / "model.safetensors", device=next(net.parameters()).device)
    for (name, value), other in zip(objective.teacher.state_dict().items(), kept.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    assert not torch.equal(net.body.head.weight, kept.body.head.weight)


def test_wrong_labels_are_doubted_and_the_net_is_no_worse_for_it(few_digits, tmp_path):
    (images, labels), _ = few_digits
    draw = np.random.default_rng(0)
    wrong = draw.permutation(256)[:77]
    given = labels.copy()
    given[wrong] = (given[wrong] + draw.integers(1, 10, 77)) % 10
    how = HOW | {"test": (images[384:], labels[384:]), "net": "resnet9:0.5", "epochs": 12, "recipe": "fast:crop=1"}
    plain = sc.train((images[:256], given[:256]), out=tmp_path / "plain", **how)
    how |= {"objective": "progressive:noise=0.3", "unlabelled": images[256:384]}
    taught = sc.train((images[:256], given[:256]), out=tmp_path / "own", **how)
    assert taught.steps == plain.steps
    assert taught.accuracy >= plain.accuracy - 0.08  # two standard errors of 128 rows: processors differ
    net = load_net(tmp_path / "own" / "cells" / taught.folder / "model.safetensors", device=CPU)
    with torch.inference_mode():
        logits = net(torch.from_numpy(images[:256, None]))
    doubt = F.cross_entropy(logits, torch.from_numpy(given[:256]), reduction="none")
    doubted = doubt.argsort(descending=True)[:77].tolist()
    assert len(set(doubted) & set(wrong.tolist())) / 77 > 0.7


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("noise=1", r"objective progressive: noise: expected a (whole )?number .*, got '1'"),
            ("decay=1", r"decay: expected a (whole )?number .*, got '1'"),
            ("ramp=0", r"ramp: expected a (whole )?number .*, got '0'"),
            ("rise=2", r"rise: expected a (whole )?number .*, got '2'"),
            ("weight=-1", r"weight: expected a (whole )?number .*, got '-1'"),
            ("size=-1", r"size: expected a (whole )?number .*, got '-1'"),
        ],
    )
    def test_knobs_that_make_no_sense(self, spec, said):
        with pytest.raises(SecateurError, match=said):
            aim(f"progressive:{spec}")

    def test_a_pool_of_another_shape(self, few_digits, tmp_path):
        with pytest.raises(SecateurError, match=r"unlabelled: expected rows of shape \(8, 8, 1\).*got \(9, 9, 1\)"):
            teach(few_digits, tmp_path, objective="progressive", unlabelled=np.zeros((4, 9, 9), dtype=np.uint8))

    def test_a_pool_that_cannot_be_read(self, few_digits, tmp_path):
        with pytest.raises(SecateurError, match="unlabelled: data: no file or folder nowhere.parquet"):
            teach(few_digits, tmp_path, objective="progressive", unlabelled="nowhere.parquet")
