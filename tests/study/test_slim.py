"""A cheaper net from a trained one: what is written, what is told, and what is refused."""

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.errors import SecateurError, StoreError, WrongData
from secateur.study.slim import Slimmed
from secateur.training.nets import build, load_about, load_net, save_net
from secateur.training.nets.small import MLP
from secateur.training.removal import slimmable, units_of
from tests.cli.test_cli import run


def own(shape, classes):
    return MLP(64, classes, (4, 3))


def save_untrained(spec, path):
    about = {"shape": (1, 8, 8), "classes": 10}
    save_net(build(spec, mean=torch.zeros(1), spread=torch.ones(1), seed=0, **about), path, spec=spec, **about)


QUIET = {"quiet": True, "threads": 1}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recorded(few_digits, tmp_path_factory):
    """An OUT folder with a trained mlp of two layers of 128 units."""
    train, test = few_digits
    out = tmp_path_factory.mktemp("recorded") / "out"
    sc.record(train, test=test, net="mlp:0.25", epochs=6, out=out, **QUIET)
    return out


@pytest.fixture(scope="module")
def slim_out(recorded, few_digits, tmp_path_factory):
    """An OUT folder with the slim net of half the multiply-adds, and what the job returned."""
    train, test = few_digits
    out = tmp_path_factory.mktemp("slim") / "out"
    return out, sc.slim(recorded, train, test=test, flops=0.5, out=out, **QUIET)


def right(model, test):
    """The share of test images that a saved net answers right, by a plain loop."""
    net = load_net(model / "model.safetensors", device=CPU)
    with torch.inference_mode():
        answers = [int(net(torch.from_numpy(image)[None, None]).argmax()) for image in test[0]]
    return np.mean(np.array(answers) == test[1])


def test_it_writes_a_smaller_net_and_tells_the_truth_about_both(slim_out, recorded, few_digits):
    out, found = slim_out
    net = load_net(out / "model.safetensors", device=CPU)
    body = slimmable(net)
    assert found.units_before == (128, 128)
    assert found.units_after == tuple(units_of(body))
    assert found.net == load_about(out / "model.safetensors").spec == "mlp:0.25,hidden={}+{}".format(*found.units_after)
    assert found.multiply_adds_before == 64 * 128 + 128 * 128 + 128 * 10
    first, second = found.units_after
    assert found.multiply_adds_after == 64 * first + first * second + second * 10 <= 0.5 * found.multiply_adds_before
    assert found.accuracy_before == pytest.approx(right(recorded, few_digits[1]), abs=0.01)  # bfloat16, where it helps
    assert found.accuracy_after == pytest.approx(right(out, few_digits[1]), abs=0.01)
    assert found.accuracy_after > found.accuracy_before - 0.05
    assert min(found.seconds_before, found.seconds_after) > 0
    assert found.rows == 512
    assert Slimmed.read(out / "slim.json") == found


def test_run_again_it_reads_the_result(slim_out, recorded, few_digits):
    out, found = slim_out
    written = (out / "model.safetensors").stat().st_mtime_ns
    train, test = few_digits
    assert sc.slim(recorded, train, test=test, flops=0.5, out=out, **QUIET) == found
    assert (out / "model.safetensors").stat().st_mtime_ns == written


def test_labels_are_not_needed_and_change_nothing(slim_out, recorded, few_digits, tmp_path):
    found = sc.slim(recorded, few_digits[0][0], flops=0.5, out=tmp_path / "out", **QUIET)
    assert found.accuracy_before is found.accuracy_after is None
    assert found.units_after == slim_out[1].units_after
    bare, labelled = ((out / "model.safetensors").read_bytes() for out in (tmp_path / "out", slim_out[0]))
    assert bare == labelled


def test_the_slim_net_teaches(slim_out, few_digits, tmp_path):
    train, test = few_digits
    taught = sc.train(
        train, test=test, teacher=slim_out[0], net="mlp:0.1", epochs=2, distill="a=1", out=tmp_path / "out", **QUIET
    )
    assert taught.distill == {"a": 1.0, "t": 4.0}


def test_a_sample_is_drawn_by_the_seed(recorded, few_digits, tmp_path):
    train, test = few_digits
    nets = []
    for k, seed in enumerate((0, 0, 1)):
        out = tmp_path / str(k)
        assert sc.slim(recorded, train, test=test, flops=0.5, sample=50, seed=seed, out=out, **QUIET).rows == 50
        nets.append((out / "model.safetensors").read_bytes())
    assert nets[0] == nets[1] != nets[2]


def test_the_command_prints_for_people_and_machines(recorded, tmp_path):
    import json

    asked = [
        "slim",
        recorded,
        "digits",
        "--flops",
        "0.6",
        "--rank",
        "data",
        "--out",
        tmp_path / "out",
        "--threads",
        "1",
    ]
    told = json.loads(run(*asked, "--json").stdout)
    assert told["rank"] == "data"
    assert told["out"] == str(tmp_path / "out")
    shown = run(*asked).stdout
    assert f"{told['multiply_adds_after']:,} of {told['multiply_adds_before']:,} multiply-adds a row" in shown
    assert f"{told['units_after'][0]} of 128, {told['units_after'][1]} of 128" in shown
    assert f"{told['accuracy_after']:.2%} on the test split" in shown


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def slim(self, model, data, tmp_path, **options):
        return sc.slim(model, data, **{"flops": 0.5, "out": tmp_path / "out", **QUIET, **options})

    def test_the_folder_of_the_model_itself(self, recorded, few_digits, tmp_path):
        for out in (recorded, recorded.parent):
            with pytest.raises(
                SecateurError, match=r"out: .* holds the model itself \(.*model.safetensors\), .* --out"
            ):
                self.slim(recorded, few_digits[0], tmp_path, out=out, force=True)
        assert (recorded / "model.safetensors").exists()

    def test_a_folder_with_another_net(self, recorded, slim_out, few_digits, tmp_path):
        train = few_digits[0]
        elsewhere = slim_out[0]
        with pytest.raises(
            WrongData, match="holds the net of a record, which slim would replace; choose another --out"
        ):
            self.slim(elsewhere, train, tmp_path, out=recorded)
        with pytest.raises(
            WrongData, match="holds the net of a slim, which record would replace; choose another --out"
        ):
            sc.record(train, net="mlp:0.25", epochs=1, out=elsewhere, **QUIET)

    @pytest.mark.parametrize(
        ("name", "before", "now"), [("flops", 0.5, 0.6), ("rank", "r2d2", "data"), ("sample", 1000, 9), ("seed", 0, 1)]
    )
    def test_a_folder_of_another_slimming(self, name, before, now, recorded, slim_out, few_digits, tmp_path):
        with pytest.raises(WrongData, match=rf"holds another slim \({name} was {before!r}, now {now!r}\)"):
            self.slim(recorded, few_digits[0], tmp_path, out=slim_out[0], **{name: now})

    def test_no_model(self, few_digits, tmp_path):
        with pytest.raises(StoreError, match="expected a net saved by secateur, found none"):
            self.slim(tmp_path / "nowhere", few_digits[0], tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"flops": 1.5}, r"flops: expected a number in .*, got 1.5"),
            ({"rank": "r2d3"}, "rank: expected one of data, .* got 'r2d3'; did you mean r2d2"),
            ({"sample": 0}, "sample: expected a whole number from 1 .*, got 0"),
        ],
    )
    def test_what_cannot_be_had_stops_before_anything_is_written(
        self, options, message, recorded, few_digits, tmp_path
    ):
        with pytest.raises(SecateurError, match=message):
            self.slim(recorded, few_digits[0], tmp_path, **options)
        assert not (tmp_path / "out").exists()

    def test_a_net_that_cannot_be_slimmed(self, few_digits, tmp_path):
        save_untrained("resnet9:0.25", tmp_path / "m.safetensors")
        with pytest.raises(
            SecateurError, match="model: expected an mlp, a vit_tiny or a vit_small, .* got a ResNet9; train one with"
        ):
            self.slim(tmp_path / "m.safetensors", few_digits[0], tmp_path)

    def test_a_net_of_your_own_that_could_not_be_built_again(self, few_digits, tmp_path):
        save_untrained("tests.study.test_slim:own", tmp_path / "own.safetensors")
        with pytest.raises(
            SecateurError,
            match="net: expected one of mlp, vit_tiny, vit_small, whose hidden units a spec can count, got",
        ):
            self.slim(tmp_path / "own.safetensors", few_digits[0], tmp_path)
        assert not (tmp_path / "out").exists()

    def test_data_of_another_shape(self, recorded, few_digits, tmp_path):
        images, labels = few_digits[0]
        told = r"model: takes rows of shape \(1, 8, 8\), but the data have rows of shape \(1, 8, 4\); name data"
        with pytest.raises(SecateurError, match=told):
            self.slim(recorded, (images[:, :, :4], labels), tmp_path)

    def test_data_of_other_classes(self, recorded, few_digits, tmp_path):
        images, labels = few_digits[0]
        with pytest.raises(SecateurError, match="model: knows 10 classes, but the data have 2; .* --label none"):
            self.slim(recorded, (images, labels % 2), tmp_path)
