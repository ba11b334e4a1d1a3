"""What a teacher said is kept to the bit, shown with the views it is about, and asked once."""

import numpy as np
import pytest
import torch

from secateur.errors import SecateurError
from secateur.training.augment import Draws, Views
from secateur.training.distill import Distill, divergence, parse
from secateur.training.loop import Watch
from secateur.training.objective import Supervised
from secateur.training.recipes import recipe
from secateur.training.soft import SoftLabels
from tests.training.test_loop import Stop, assert_same, net, run, tensors

HOW = Views(flip=True, crop=2, cutout=3)


class Counted(torch.nn.Module):
    """A teacher that counts the rows it was asked about."""

    def __init__(self):
        super().__init__()
        self.net, self.asked = net().eval(), 0

    def forward(self, rows):
        self.asked += len(rows)
        return self.net(rows)


def soft(folder, data, ids=None, teacher=None, **options):
    given = {"views": 3, "folder": folder, "batch": 8, **options}
    return SoftLabels(teacher or Counted(), data, HOW, data.usable if ids is None else ids, **given)


def test_what_is_kept_is_what_the_live_teacher_says_of_the_views_shown_to_the_bit(tmp_path):
    data, teacher = tensors(), Counted()
    kept = soft(tmp_path, data, teacher=teacher)
    for epoch in (0, 1, 2, 4):
        kept.turn_to(epoch)
        for ids in torch.arange(24).split(8):
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=live_in_bfloat16()):
                live = teacher(kept.shown(ids, data.sample(ids.numpy())))
            assert torch.equal(kept(ids), live.half().float())


def live_in_bfloat16():
    from secateur.training.machine import bfloat16_helps

    return bfloat16_helps(torch.device("cpu"))


def test_a_view_is_the_examples_own_whatever_batch_it_comes_in(tmp_path):
    data, kept = tensors(), soft(tmp_path, tensors())
    kept.turn_to(1)
    ids = torch.tensor([7, 3, 20])
    alone = torch.cat([kept.shown(ids[k : k + 1], data.sample(ids[k : k + 1].numpy())) for k in range(3)])
    assert torch.equal(kept.shown(ids, data.sample(ids.numpy())), alone)
    kept.turn_to(4)
    assert torch.equal(kept.shown(ids, data.sample(ids.numpy())), alone)  # every third epoch shows the same
    kept.turn_to(2)
    assert not torch.equal(kept.shown(ids, data.sample(ids.numpy())), alone)


def test_the_teacher_is_asked_once_about_each_view_of_the_subset_alone(tmp_path):
    data, teacher = tensors(), Counted()
    first = soft(tmp_path, data, np.arange(10), teacher)
    for epoch in range(7):
        first.turn_to(epoch)
    assert teacher.asked == 30
    again = soft(tmp_path, data, np.arange(10), teacher)
    again.turn_to(2)
    assert teacher.asked == 30
    assert torch.equal(first(torch.tensor([4])), again_at_zero(again, torch.tensor([4])))


def again_at_zero(kept, ids):
    kept.turn_to(0)
    return kept(ids)


def test_of_many_classes_the_rest_share_what_is_left():
    """Four classes with probabilities 8, 4, 2, 2 of 16: of the top two kept, the rest have 2 each again."""
    from secateur.training.soft import _highest, _spread

    logits = torch.tensor([[2.0, 8.0, 2.0, 4.0], [1.0, 1.0, 6.0, 8.0]]).log()
    back = _spread(_highest(logits, 2), 4).softmax(1)
    torch.testing.assert_close(back[0], torch.tensor([2, 8, 2, 4]) / 16)
    torch.testing.assert_close(back[1], torch.tensor([1, 1, 6, 8]) / 16)


def test_top_is_kept_in_less_room_and_read_back(tmp_path):
    data = tensors()
    whole, top = soft(tmp_path / "whole", data), soft(tmp_path / "top", data, top=1)
    for kept in (whole, top):
        kept.turn_to(0)
    ids = torch.tensor([0, 5])
    assert np.load(tmp_path / "top" / "view-0.npy").shape == (24, 3)
    torch.testing.assert_close(top(ids).max(1).values, whole(ids).max(1).values)
    torch.testing.assert_close(
        top(ids).softmax(1).max(1).values, whole(ids).softmax(1).max(1).values, atol=2e-3, rtol=0
    )


def test_a_student_hears_what_is_kept(tmp_path):
    data, student = tensors(), net("mlp")
    chosen = recipe("sgd:batch=8,smoothing=0,flip=1,crop=2,cutout=3")
    kept, how = soft(tmp_path, data), Distill(a=1.0, t=2.0, views=3)
    objective = Supervised(student, data, chosen, seed=0, teacher=kept.teacher, distill=how, soft=kept)
    objective.begin(1)
    ids = torch.tensor([3, 9])
    rows = data.sample(ids.numpy())
    before = kept.teacher.asked
    answer = objective(ids, rows)
    assert kept.teacher.asked == before
    torch.testing.assert_close(answer.loss, divergence(answer.logits, kept(ids), 2.0))
    with torch.no_grad():
        torch.testing.assert_close(answer.logits, student(kept.shown(ids, rows)), rtol=2e-2, atol=2e-2)


def test_a_run_with_kept_answers_stopped_after_an_epoch_ends_with_the_same_weights_to_the_bit(tmp_path):
    data = tensors()

    def how(folder):
        kept = soft(tmp_path / folder, data)
        return {"data": data, "teacher": kept.teacher, "distill": Distill(a=0.5, views=3), "soft": kept}

    def stop(at, loss):
        if at.epoch == 1:
            raise Stop

    whole, _ = run(**how("whole"))
    with pytest.raises(Stop):
        run(**how("parts"), save_to=tmp_path / "state", watch=Watch(epoch=stop))
    parts, _ = run(**how("parts"), save_to=tmp_path / "state")
    assert_same(whole, parts)


def test_drawing_and_placing_is_what_a_view_always_was():
    images = torch.randint(0, 255, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    drawn = HOW.draw(5, (8, 8), torch.Generator().manual_seed(3))
    assert torch.equal(HOW(images, torch.Generator().manual_seed(3)), HOW.place(images, drawn))
    some = torch.tensor([4, 1])
    assert torch.equal(HOW.place(images, drawn)[some], HOW.place(images[some], drawn.of(some)))
    assert Draws(None, None).of(some) == Draws(None, None)


@pytest.mark.parametrize(
    "spec, told",
    [
        ("views=-1", "views: expected a whole number from 0 .*, got .-1."),
        ("views=2.5", "views: expected a whole number .*, got .2.5."),
        ("views=4,mixup=1", "no answer to them is kept; leave views out"),
        ("top=5", "name how many views too: views=8"),
    ],
)
def test_what_cannot_be_kept_is_refused(spec, told):
    with pytest.raises(SecateurError, match=told):
        parse(spec, 0.1)
