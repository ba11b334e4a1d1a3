"""How condensed sets are judged: with and without augmentation, and beside coresets that a recorded run chooses."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.condensation import Real, passes
from secateur.condensation.mosaic import expand
from secateur.condensation.protocol import Protocol, Soft, fit, judge
from secateur.condensation.real import start
from secateur.condensation.siamese import families
from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import NonFiniteError, SecateurError, StoreError, WrongData
from secateur.report import write_report
from secateur.report.condensed import Condensed
from secateur.select import herding, k_center
from secateur.store.recording import Recording
from secateur.study.coresets import CORESETS, SCORED, Recorded, coreset
from secateur.study.judging import MOSAICS
from secateur.study.judging import _rows as judging_rows
from secateur.training import seeding
from secateur.training.nets import build
from secateur.training.nets.head import head_of
from tests.cli.test_cli import run

NET = "convnet1:0.0625"
TINY = {"per_class": 2, "steps": 1, "net": NET, "batch": 5, "eval_epochs": 1, "repeats": 2, "quiet": True, "threads": 1}


@pytest.fixture(scope="module")
def real(few_digits):
    images, labels = few_digits[0]
    return Real.of(torch.from_numpy(images)[:, None], torch.from_numpy(labels))


@pytest.fixture(scope="module")
def recorded(real, pruned):
    """What the run of `pruned`, four epochs on these digits, tells of them."""
    return Recorded.open(pruned, real, fingerprint=Recording.open(pruned).fingerprint, per_class=3)


@pytest.fixture(scope="module")
def judged(few_digits, pruned, tmp_path_factory):
    """A set that was judged with everything there is, what was told of it, and that as the report has it."""
    out = tmp_path_factory.mktemp("judged") / "out"
    asked = TINY | {"eval_augment": "auto;off", "recording": pruned, "soft": True}
    held = sc.condense(few_digits[0], test=few_digits[1], out=out, **asked)
    return held, json.loads((out / "condense.json").read_text()), Condensed.gather(out)


class TestAugmentations:
    def test_every_net_is_judged_with_and_without_it_in_one_run(self, judged):
        _, found, _ = judged
        kinds = ["dm", *CORESETS, *SCORED]
        assert [(r["augment"], r["rows"]) for r in found["rows"]] == [(a, k) for a in ("auto", "off") for k in kinds]
        assert found["about"]["augments"]["off"] == {"families": [], "epochs": 2}

    def test_improvement_over_random_is_at_equal_augmentation(self, judged):
        rows = judged[1]["rows"]
        random = {r["augment"]: r["accuracy"] for r in rows if r["rows"] == "random"}
        assert random["auto"] != random["off"]
        for row in rows:
            assert row["above_random"] == pytest.approx(row["accuracy"] - random[row["augment"]])

    @pytest.mark.parametrize("augment", ["auto", "off"])
    @pytest.mark.parametrize("labels", ["hard", "soft"])
    def test_the_numbers_are_those_of_the_protocol_by_hand(self, labels, augment, judged, real, recorded, few_digits):
        held, found, _ = judged
        test = Tensors(open_data(few_digits[0], test=few_digits[1]).test, torch.device("cpu"))
        how = {"net": NET, "protocol": Protocol(families(augment, real.shape), epochs=1)}
        how["soft"] = Soft(recorded.net, t=4.0) if labels == "soft" else None
        for kind in ("dm", "random"):
            row = next(r for r in found["rows"] if (r["augment"], r["rows"]) == (augment, kind))
            for seed, accuracy in enumerate(row["soft_accuracies" if labels == "soft" else "accuracies"]):
                drawn = start(real, per_class=2, generator=seeding.generator(seed, "random coreset"), init="real")
                images = drawn if kind == "random" else held.images
                assert judge(images, held.labels, real, test, seed=seed, **how) == accuracy

    def test_two_names_of_the_same_are_judged_once(self, tmp_path):
        rows, labels = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2
        asked = TINY | {"net": "mlp:0.1", "eval_augment": "auto;off"}  # of vectors nothing is varied
        sc.condense((rows, labels), test=(rows, labels), out=tmp_path / "out", **asked)
        assert list(json.loads((tmp_path / "out/condense.json").read_text())["about"]["augments"]) == ["auto"]


class TestCoresets:
    def test_all_have_as_many_of_each_class(self, recorded, real):
        labels = real.labels.numpy()
        for kind in ("herding", "k-center", *SCORED):
            ids = coreset(real, kind, 3, recorded)
            assert len(set(ids.tolist())) == 30
            assert labels[ids].tolist() == np.repeat(range(10), 3).tolist()

    def test_forgetting_takes_what_was_forgotten_most_often(self, recorded, real, pruned):
        correct = np.asarray(Recording.open(pruned)["correct"])
        times = [
            len(runs) if not any(runs) else sum(a and not b for a, b in pairwise(runs))
            for runs in correct.T.tolist()  # as often as there are epochs, where it was never learned
        ]
        for c, ids in enumerate(recorded.picked["forgetting"].reshape(10, 3)):
            of_class = [times[i] for i in real.members[c].tolist()]
            assert sorted(times[i] for i in ids) == sorted(of_class)[-3:]

    def test_dual_draws_inside_a_class_as_the_selector_itself(self, recorded, real, pruned):
        p = np.asarray(Recording.open(pruned)["p_target"])
        own = real.members[0].numpy()  # the first class: the stream is new
        rng = seeding.rng(0, "dual", "coreset")
        picked = sc.select.beta(sc.scores.dual(p, window=3)[own], p.mean(0)[own], keep=3, rng=rng, c_d=5.5)
        assert recorded.picked["dual"][:3].tolist() == own[picked].tolist()

    def test_features_are_what_enters_the_last_layer_of_the_net(self, recorded, real):
        head = head_of(recorded.net)
        with torch.no_grad():
            logits = recorded.net(real.rows)
        told = torch.nn.functional.linear(torch.from_numpy(recorded.features), head.weight, head.bias)
        along = torch.cosine_similarity(told, logits)  # a resnet9 scales what its head says
        assert torch.allclose(along, torch.ones(512), atol=1e-5)

    def test_herding_and_k_center_go_by_them(self, recorded, real):
        own = real.members[4].numpy()
        by_hand = {
            "herding": herding(recorded.features[own], keep=3),
            "k-center": k_center(recorded.features[own], keep=3, start="mean", rng=np.random.default_rng(0)),
        }
        for kind, picked in by_hand.items():
            assert coreset(real, kind, 3, recorded)[12:15].tolist() == own[picked].tolist()
            assert coreset(real, kind, 3).tolist() != coreset(real, kind, 3, recorded).tolist()

    def test_the_result_says_whose_features_and_scores(self, judged):
        about = judged[1]["about"]
        assert about["coreset_features"] == "the features of resnet9:0.25, trained on all of the data"
        assert (about["recording"]["net"], about["recording"]["epochs"]) == ("resnet9:0.25", 4)


@pytest.mark.parametrize(
    ("spec", "compiled"), [("convnet1:0.0625", True), ("mlp:0.1", True), ("resnet9:0.25,norm=instance", False)]
)
def test_in_judging_too_only_nets_that_are_known_to_be_right_are_compiled(spec, compiled, monkeypatch):
    asked = []
    monkeypatch.setattr(passes, "_compiled", lambda what: asked.append(what) or what)
    rows, labels = torch.zeros(4, 1, 32, 32), torch.arange(4) % 2
    net = build(spec, shape=(1, 32, 32), classes=2, mean=torch.zeros(1), spread=torch.ones(1), seed=0)
    fit(net, rows, labels, Protocol(epochs=0, compiled=True), torch.Generator())
    assert bool(asked) == compiled


def test_a_net_that_leaves_the_finite_numbers_is_not_told_to_be_at_chance(real, few_digits):
    test = Tensors(open_data(few_digits[0], test=few_digits[1]).test, torch.device("cpu"))
    rows, labels = torch.full((10, 1, 8, 8), 1e30), torch.arange(10)
    with pytest.raises(NonFiniteError, match="nets: the weights of mlp:0.1 left the finite numbers .*--rate"):
        judge(rows, labels, real, test, net="mlp:0.1", protocol=Protocol(epochs=2), seed=0)


class Listening(torch.nn.Module):
    """A teacher that is sure of class 1, and remembers what it was asked about."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, rows):
        self.asked.append(rows)
        return torch.tensor([[0.0, 3.0]]).expand(len(rows), 2)


class TestSoftLabels:
    def student(self):
        mean, spread = torch.tensor([100.0]), torch.tensor([50.0])
        return build("mlp:0.1", shape=(1, 4, 4), classes=2, mean=mean, spread=spread, seed=0)

    def fitted(self, protocol, labels, net=None):
        rows, net, teacher = torch.randn(6, 1, 4, 4, generator=torch.Generator()), net or self.student(), Listening()
        fit(net, rows, labels, protocol, torch.Generator(), Soft(teacher))
        return rows, net, teacher

    def test_the_teacher_is_asked_about_the_very_views_that_the_net_sees_as_raw_rows(self):
        net, seen = self.student(), []
        net.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
        rows, _, teacher = self.fitted(Protocol(("crop",), epochs=3), torch.zeros(6, dtype=torch.int64), net)
        assert len(teacher.asked) == 4  # at every step
        for view, raw in zip(seen, teacher.asked, strict=True):
            assert torch.equal(raw, view * 50 + 100)
        assert not torch.isin(seen[0], rows).all()  # what comes in from the border is 0

    def test_labels_are_not_looked_at_where_it_speaks(self):
        zeros, ones = (torch.full((6,), k) for k in (0, 1))
        rows, first, _ = self.fitted(Protocol(epochs=200), zeros)
        _, second, _ = self.fitted(Protocol(epochs=200), ones)
        assert torch.equal(first.body(rows), second.body(rows))
        told = first.body(rows)
        assert (told[:, 1] - told[:, 0]).mean() > 2  # on its way to 3

    def test_they_have_a_column_of_their_own_beside_the_hard_ones(self, judged):
        _, found, _ = judged
        random = {r["augment"]: r["soft"] for r in found["rows"] if r["rows"] == "random"}
        for row in found["rows"]:
            assert row["soft"] == pytest.approx(np.mean(row["soft_accuracies"]))
            assert row["soft_above_random"] == pytest.approx(row["soft"] - random[row["augment"]])
        assert any(row["soft"] != row["accuracy"] for row in found["rows"])

    def test_the_accuracy_of_the_teacher_itself_stands_beside_them(self, judged, recorded, few_digits):
        images, labels = few_digits[1]
        with torch.no_grad():
            right = recorded.net(torch.from_numpy(images)[:, None]).argmax(1).numpy() == labels
        assert judged[1]["teacher"] == pytest.approx(right.mean(), abs=0.02)

    def test_so_does_the_share_of_the_rows_that_it_agrees_about(self, judged, recorded, real):
        held, found, _ = judged
        with torch.no_grad():
            said = recorded.net(held.images * real.spread.view(1, -1, 1, 1) + real.mean.view(1, -1, 1, 1)).argmax(1)
        assert found["teacher_agrees"] == pytest.approx(float((said == held.labels).float().mean()), abs=0.07)

    def test_in_the_report_too_but_for_results_from_before_that_was_asked(self, few_digits, pruned, tmp_path):
        out, asked = tmp_path / "out", TINY | {"recording": pruned, "soft": True, "repeats": 1, "eval_epochs": 0}
        sc.condense(few_digits[0], test=few_digits[1], out=out, **asked)
        found, told = json.loads((out / "condense.json").read_text()), "of the condensed rows"
        assert f"it agrees about {found.pop('teacher_agrees'):.0%} {told}" in (out / "report.html").read_text()
        (out / "condense.json").write_text(json.dumps(found))
        page = write_report(out).read_text(encoding="utf-8")
        assert "The teacher of soft labels itself" in page
        assert told not in page

    @pytest.mark.parametrize(("below", "told"), [(0.0, False), (1.01, True)])
    def test_a_teacher_that_agrees_about_few_of_them_is_told_of(
        self, below, told, few_digits, pruned, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setattr("secateur.study.judging._AGREES", below)
        asked = {"per_class": 3, "net": NET, "steps": 0, "eval_epochs": 0, "repeats": 1, "threads": 1}
        out = tmp_path / "out"
        sc.condense(few_digits[0], test=few_digits[1], recording=pruned, soft=True, out=out, **asked)
        assert ("of the condensed rows for what they are labelled" in capsys.readouterr().err) == told

    def test_and_one_in_the_report(self, judged):
        _, found, told = judged
        assert told.heads == [(NET, how, labels) for labels in ("hard", "soft") for how in ("auto", "off")]
        for row in found["rows"]:
            cells = {(c["augment"], c["labels"]): c["accuracy"] for c, _ in told.table[row["rows"]]}
            assert (cells[row["augment"], "hard"], cells[row["augment"], "soft"]) == (row["accuracy"], row["soft"])
        (cost,) = told.judging
        assert cost["nets"] == 48  # 6 kinds of rows, 2 augmentations, 2 kinds of labels, twice each
        assert cost["seconds"] == pytest.approx(sum(r["seconds"] + r["soft_seconds"] for r in found["rows"]))


def test_the_command_has_a_line_an_augmentation_and_columns_of_soft_labels(tmp_path):
    run("record", "digits", "--epochs", 3, "--net", "mlp:0.1", "--out", tmp_path / "recorded", "--threads", 1)
    asked = ["condense", "digits", "--per-class", 1, "--steps", 1, "--net", NET, "--eval-epochs", 0, "--repeats", 1]
    asked += ["--eval-augment", "crop;off", "--out", tmp_path / "out", "--threads", 1]
    shown = run(*asked, "--recording", tmp_path / "recorded", "--soft").stdout
    assert "crop: 1 epochs, crop; off: 1 epochs" in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith("dual")]
    assert [row[:3] for row in rows] == [["dual", NET, "crop"], ["dual", NET, "off"]]
    told = json.loads((tmp_path / "out/condense.json").read_text())["rows"]
    for row, line in zip(rows, (r for r in told if r["rows"] == "dual"), strict=True):
        assert (row[3], row[6]) == (f"{line['accuracy']:.2%}", f"{line['soft']:.2%}")  # one net, so no spread


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def refused(self, few_digits, tmp_path, message, error=SecateurError, **options):
        with pytest.raises(error, match=message):
            sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **TINY | options)
        assert not (tmp_path / "out").exists()  # before an hour of condensing, not after it

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"eval_augment": "auto;blur"}, "augment: expected one of auto, color, .*, got 'blur'"),
            ({"nets": f"{NET};lenet"}, "expected one of .*, got 'lenet'"),
            ({"nets": f"mlp,{NET}"}, r"nets: expected one of .*, got '.*' \(several are separated by ;\)"),
            ({"soft": True}, "soft: the net of a recording is the teacher, and none is named; name one"),
        ],
    )
    def test_what_cannot_be_judged_stops_before_anything_is_learned(self, options, message, few_digits, tmp_path):
        self.refused(few_digits, tmp_path, message, **options)

    def test_a_recording_of_other_data(self, few_digits, tmp_path, pruned):
        images, labels = few_digits[0]
        other = (images[:500], labels[:500]), few_digits[1]
        self.refused(other, tmp_path, "recording: .* was made from other data", WrongData, recording=pruned)

    def test_a_folder_without_a_recording(self, few_digits, tmp_path):
        message = "recording: .*nothing: expected a recording, found none.*; `secateur record DATA --out OUT` makes one"
        (tmp_path / "nothing").mkdir()
        self.refused(few_digits, tmp_path, message, StoreError, recording=tmp_path / "nothing")

    def test_a_recording_without_a_net(self, few_digits, tmp_path, pruned):
        shutil.copytree(pruned / "recording.zarr", tmp_path / "loop/recording.zarr")
        message = r"recording: .*loop holds no fully trained net .*; `secateur record DATA --out .*loop` trains one"
        self.refused(few_digits, tmp_path, message, recording=tmp_path / "loop")

    def test_more_rows_than_a_class_has(self, few_digits, tmp_path, pruned):
        message = "per_class: 60 is more than the .* rows of class .*, so no coreset can have that size; use"
        self.refused(few_digits, tmp_path, message, recording=pruned, per_class=60, init="noise")


def test_nets_that_remember_statistics_are_told_of_with_the_way_of_the_papers(few_digits, tmp_path, capsys):
    asked = {**TINY, "nets": "mlp:0.1;resnet9:0.25", "steps": 0, "repeats": 1, "quiet": False}
    sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **asked)
    told = [line for line in capsys.readouterr().err.splitlines() if "remembers statistics" in line]
    assert len(told) == 1
    assert told[0].startswith("resnet9:0.25 remembers statistics")
    assert "(resnet9:0.25,norm=instance)" in told[0]


def test_beside_mosaics_stand_random_ones_of_as_many_pixels(few_digits, real, tmp_path):
    asked = {**TINY, "method": "idm", "tiles": 2, "steps": 0, "repeats": 1}
    held = sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **asked)
    rows = json.loads((tmp_path / "out/condense.json").read_text())["rows"]
    assert [row["rows"] for row in rows] == ["idm", *CORESETS, MOSAICS]
    images, labels = judging_rows(real, held, MOSAICS, 7, {}.get)
    drawn = start(real, per_class=2, generator=seeding.generator(7, "random mosaics"), init="mosaic")
    assert torch.equal(images, expand(drawn))
    assert labels.tolist() == np.repeat(range(10), 8).tolist()
