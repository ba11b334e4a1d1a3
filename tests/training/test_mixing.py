"""Mixed images: what is in them, what the labels and the teacher say of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secateur.errors import SecateurError
from secateur.training import loop, objective
from secateur.training.distill import Distill, divergence, parse, parse_grid
from secateur.training.mixing import mixed
from tests.training.test_loop import assert_same, run


def draw(seed=0):
    return np.random.default_rng(seed)


IMAGES = torch.from_numpy(draw(5).integers(0, 256, (6, 3, 8, 10), dtype=np.uint8))


@pytest.mark.parametrize("rows", [IMAGES, torch.randn(6, 4, generator=torch.Generator().manual_seed(0))])
def test_a_mixup_is_so_much_of_each(rows):
    for seed in range(20):
        found = mixed(rows, mixup=0.7, cutmix=0.0, draw=draw(seed))
        expected = found.share * rows.float() + (1 - found.share) * rows[found.partner].float()
        torch.testing.assert_close(found.rows, expected, rtol=1e-5, atol=1e-4)
        assert sorted(found.partner.tolist()) == list(range(6))


def test_a_cutmix_is_a_box_of_the_partner_and_its_share_is_what_is_left():
    shares = []
    for seed in range(200):
        found = mixed(IMAGES, mixup=0.0, cutmix=1.0, draw=draw(seed))
        other = IMAGES[found.partner]
        inside = (found.rows == other).all(dim=(0, 1)) & (found.rows != IMAGES).any(dim=(0, 1))
        outside = (found.rows == IMAGES).all(dim=(0, 1))
        assert (inside | outside).all()
        assert found.share == pytest.approx(1 - inside.float().mean().item(), abs=1e-6) or not inside.any()
        ys, xs = torch.nonzero(inside, as_tuple=True)
        if len(ys):
            assert inside[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()
        shares.append(found.share)
    assert min(shares) < 0.2
    assert max(shares) > 0.95


def test_with_both_a_coin_decides():
    kinds = {mixed(IMAGES, mixup=1.0, cutmix=1.0, draw=draw(seed)).rows.dtype for seed in range(30)}
    assert kinds == {torch.float32, torch.uint8}  # a box leaves bytes bytes


def test_vectors_have_no_boxes():
    with pytest.raises(SecateurError, match=r"cutmix: expected images, got rows of shape \(4,\); use mixup"):
        mixed(torch.zeros(6, 4), mixup=0.0, cutmix=1.0, draw=draw())


def test_the_teacher_hears_the_mixture_and_the_labels_are_mixed_alike(monkeypatch):
    """One step by hand, on what the loop showed the net and the teacher."""
    seen, mixtures, losses = [], [], []
    original = objective.mixed
    monkeypatch.setattr(objective, "mixed", lambda *a, **k: mixtures.append(original(*a, **k)) or mixtures[-1])

    class Spy(torch.nn.Module):
        def __init__(self, say):
            super().__init__()
            self.say = say

        def forward(self, rows):
            seen.append(rows)
            return self.say(rows)

    from tests.training.test_loop import net, tensors

    teacher, student = Spy(net("mlp").eval()), net("mlp")
    start = {name: p.clone() for name, p in student.state_dict().items()}
    how = Distill(a=0.25, t=2.0, mixup=1.0)
    data = tensors()
    watch = loop.Watch(epoch=lambda at, loss: losses.append(loss))
    run(spec="mlp", data=data, start=student, steps=1, teacher=teacher, distill=how, watch=watch)
    assert torch.equal(seen[0], mixtures[0].rows)
    plain = net("mlp")
    plain.load_state_dict(start)
    ids = torch.from_numpy(loop_order(data))[:8]
    labels = data.labels[ids]
    logits = plain.train()(mixtures[0].rows).float()
    share, other = mixtures[0].share, labels[mixtures[0].partner]
    smooth = {"label_smoothing": 0.1, "reduction": "none"}
    hard = share * F.cross_entropy(logits, labels, **smooth) + (1 - share) * F.cross_entropy(logits, other, **smooth)
    soft = divergence(logits, teacher.say(mixtures[0].rows).float(), 2.0)
    assert losses[0] == pytest.approx(float((0.75 * hard + 0.25 * soft).mean().detach()), rel=2e-2)


def loop_order(data):
    from secateur.training.sampling import Shuffled

    return Shuffled(data.usable, 0).plan(0).ids


def test_a_mixed_run_stopped_after_an_epoch_ends_with_the_same_weights_to_the_bit(tmp_path):
    from tests.training.test_loop import Stop, net

    how = {"spec": "mlp", "teacher": net("mlp").eval(), "distill": Distill(a=0.5, mixup=1.0, cutmix=1.0)}

    def stop(at, loss):
        if at.epoch == 2:
            raise Stop

    whole, _ = run(**how)
    with pytest.raises(Stop):
        run(**how, save_to=tmp_path / "state", watch=loop.Watch(epoch=stop))
    parts, _ = run(**how, save_to=tmp_path / "state")
    assert_same(whole, parts)


def test_a_spec_may_mix_and_older_runs_keep_their_names():
    assert parse("a=1,t=1,mixup=0.8", 0.1) == Distill(1.0, 1.0, mixup=0.8)
    assert parse_grid("a=1,mixup=0,1") == ("a=1,mixup=0", "a=1,mixup=1")
    assert Distill(0.5).as_dict() == {"a": 0.5, "t": 4.0}
    assert Distill(0.5, cutmix=1.0).as_dict() == {"a": 0.5, "t": 4.0, "cutmix": 1.0}
    with pytest.raises(SecateurError, match="distill: mixup: expected a number in .*, got .-1."):
        parse("mixup=-1", 0.1)
