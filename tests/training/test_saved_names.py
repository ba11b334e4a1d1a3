"""A model file is data: it may name a net that comes with secateur, and decides nothing else."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import secateur as sc
from secateur.errors import SecateurError, StoreError
from secateur.scale.embed import embed as embed_shards
from secateur.training.distill import load_teacher
from secateur.training.embedders import embedder
from secateur.training.nets import adopt, build, load_about, load_net, save_net, spec_in
from secateur.training.nets.small import MLP

CPU = torch.device("cpu")
HERE = "tests.training.test_saved_names"
QUIET = {"quiet": True, "threads": 1}
ran: list[tuple[object, ...]] = []


def bomb(*given):
    """What the author of a file wants to run here."""
    ran.append(given)
    return MLP(64, 10, (4, 3))


def own(shape, classes):
    return MLP(64, classes, (4, 3))


def own_kind(shape):
    return nn.Flatten()


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()
    yield
    assert not ran, "a file had code run"


def written(path, spec=f"{HERE}:bomb", shape=(1, 8, 8), classes=10, tensors=None):
    """A file that says what it likes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    net = build("mlp:0.01", shape=(1, 8, 8), classes=10, mean=torch.zeros(1), spread=torch.ones(1), seed=0)
    about = {"secateur": json.dumps({"net": spec, "shape": shape, "classes": classes})}
    save_file(dict(net.state_dict()) if tensors is None else tensors, path, metadata=about)
    return path


def saved(path, spec=f"{HERE}:own"):
    """A net of one's own, saved as a run saves it."""
    about = {"shape": (1, 8, 8), "classes": 10}
    net = build(spec, mean=torch.full((1,), 100.0), spread=torch.full((1,), 90.0), seed=0, **about)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_net(net, path, spec=spec, **about)
    return path


JOBS = {
    "train --teacher": lambda few, model, out: sc.train(few[0], test=few[1], teacher=model, net="mlp:0.1", out=out),
    "train --start": lambda few, model, out: sc.train(few[0], test=few[1], start=model, out=out),
    "slim": lambda few, model, out: sc.slim(model, few[0], flops=0.5, out=out),
    "mine --model": lambda few, model, out: sc.mine(few[0], few[0][0], model=model, top=1, out=out),
    "plan --start": lambda few, model, out: sc.plan(few[0], start=model, reach=0.3),
    "plan --out": lambda few, model, out: sc.plan(few[0], out=model.parent, net="mlp:0.1"),
    "prune --features": lambda few, model, out: sc.prune(
        few[0], keep=0.3, method="k-center", features=str(model), out=out
    ),
    "scale embed": lambda few, model, out: embed_shards(few[0], out=str(out), by=str(model)),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_model_file_never_runs_its_author_s_code(job, few_digits, tmp_path, capfd):
    model = written(tmp_path / "sent" / "model.safetensors")
    with pytest.raises(SecateurError, match="is not built in, and a file never decides which code runs|hidden units"):
        JOBS[job](few_digits, model, tmp_path / "out")


@pytest.mark.parametrize("job", JOBS)
def test_a_model_file_whose_shape_is_a_command_is_damaged(job, few_digits, tmp_path):
    mark = tmp_path / "PWNED"
    shape = ["touch", str(mark)]
    model = written(tmp_path / "sent" / "model.safetensors", "dateutil.zoneinfo.rebuild:check_call", shape)
    with pytest.raises(StoreError, match="not a whole net saved by secateur"):
        JOBS[job](few_digits, model, tmp_path / "out")
    assert not mark.exists()


def test_an_out_folder_that_was_sent_runs_nothing_when_it_is_gone_on_with_or_reported(pruned, few_digits, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(pruned, out)
    written(out / "model.safetensors")
    shutil.rmtree(out / "cells")
    run = json.loads((out / "run.json").read_text())
    run["digests"] = {}  # whoever sends a folder writes its run.json, too
    (out / "run.json").write_text(json.dumps(run))
    (train, test), how = few_digits, {"net": "resnet9:0.25", "record_epochs": 4, "epochs": 4}
    with pytest.raises(SecateurError, match="a file never decides which code runs"):
        sc.prune(train, test=test, keep=0.3, train=True, out=out, **how, **QUIET)
    with pytest.raises(SecateurError, match="a file never decides which code runs"):
        sc.condense(train, per_class=1, steps=1, recording=out, out=tmp_path / "condensed", **QUIET)


def test_a_net_of_one_s_own_is_built_where_the_user_names_it_and_from_the_user_s_text(few_digits, tmp_path):
    model, (train, test) = saved(tmp_path / "m.safetensors"), few_digits
    with pytest.raises(SecateurError, match=r"name it yourself with --net \(net= in Python\)$"):
        load_net(model, device=CPU)
    net = load_net(model, device=CPU, named=["mlp", f"{HERE}:own"])
    assert isinstance(net.body, MLP)
    assert net.state_dict().keys() == load_file(model).keys()
    for other in (f"{HERE}:bomb", f"{HERE}:own ", HERE, "timm:own", None):
        with pytest.raises(SecateurError, match="a file never decides"):
            load_net(model, device=CPU, named=[other])
    how = {"net": "mlp:0.1", "epochs": 1, **QUIET}
    with pytest.raises(SecateurError, match=r"with --teacher-net \(teacher_net= in Python\)$"):
        sc.train(train, test=test, teacher=model, out=tmp_path / "a", **how)
    sc.train(train, test=test, teacher=model, teacher_net=f"{HERE}:own", out=tmp_path / "a", **how)
    sc.train(train, test=test, teacher=model, out=tmp_path / "b", **how | {"net": f"{HERE}:own"})
    sc.train(train, test=test, start=model, out=tmp_path / "c", **how | {"net": f"{HERE}:own"})
    sc.mine(train, train[0], model=model, top=1, out=tmp_path / "d", **how | {"net": f"{HERE}:own"})


def test_a_pruning_with_a_net_of_one_s_own_goes_on_and_teaches(few_digits, tmp_path):
    (train, test), how = few_digits, {"net": f"{HERE}:own", "record_epochs": 4, "epochs": 2, **QUIET}
    sc.prune(train, test=test, keep=0.3, out=tmp_path, **how)
    sc.prune(train, test=test, keep=0.3, train=True, out=tmp_path, **how)
    assert load_about(tmp_path / "model.safetensors").spec == f"{HERE}:own"


def test_a_net_to_start_from_is_ours_or_named(tmp_path):
    ours, other = saved(tmp_path / "m.safetensors", "mlp:0.1"), saved(tmp_path / "o.safetensors")
    assert spec_in(ours) == spec_in(ours, "mlp:0.1") == "mlp:0.1"
    assert spec_in(other, f"{HERE}:own") == f"{HERE}:own"
    with pytest.raises(SecateurError, match="a file never decides"):
        spec_in(other)
    with pytest.raises(SecateurError, match="and the net asked for is mlp"):
        spec_in(ours, "mlp")


def test_an_embedder_that_is_a_file_holds_one_of_our_nets_or_a_named_one(tmp_path):
    other = saved(tmp_path / "o.safetensors")
    rows = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(SecateurError, match="a file never decides"):
        embedder(str(other), shape=(1, 8, 8), device=CPU)
    assert embedder(str(other), shape=(1, 8, 8), device=CPU, named=[f"{HERE}:own"])(rows).shape == (2, 3)


@pytest.mark.parametrize(
    "spec",
    ["timm:resnet10t", "transformers:x/y", "os.path:join", "a.b:c", "../mlp", "MLP", "mlp\x1b[2J", "/etc/passwd"],
)
def test_only_names_of_our_nets_are_taken_from_a_file(spec, tmp_path):
    with pytest.raises(SecateurError, match="a file never decides") as told:
        load_net(written(tmp_path / "m.safetensors", spec), device=CPU)
    assert "\x1b" not in str(told.value)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"shape": []}, "shape"),
        ({"shape": [1, 1, 1, 1, 1]}, "shape"),
        ({"shape": [1, 8, -8]}, "shape"),
        ({"shape": [1, 8, 8.0]}, "shape"),
        ({"shape": [True, 8, 8]}, "shape"),
        ({"shape": "188"}, "shape"),
        ({"shape": [2**20, 2**20]}, "at most 2,147,483,648 values"),
        ({"shape": [1, 10**30, 8]}, "shape"),
        ({"classes": 0}, "classes"),
        ({"classes": 10**8}, "classes"),
        ({"classes": "10"}, "classes"),
        ({"classes": None}, "classes"),
        ({"spec": ""}, "net"),
        ({"spec": 3}, "net"),
        ({"spec": "mlp:" + "9" * 2000}, "net"),
        ({"spec": "mlp:nan"}, "impossible net"),
        ({"spec": "mlp:1e9"}, "impossible net"),
        ({"spec": "mlp:64"}, "it is not the network it claims to be"),
        ({"spec": "mlp:hidden=1000000+1000000"}, "impossible net"),
        ({"spec": "resnet18:64", "shape": [3, 32, 32], "tensors": {"mean": torch.zeros(3), "spread": torch.ones(3)}},
         "impossible net|lacks"),
        ({"spec": "convnet5"}, "impossible net"),
        ({"spec": "resnet9:norm=group"}, "impossible net"),
        ({"classes": 11}, "it is not the network it claims to be"),
        ({"shape": [1, 9, 8]}, "it is not the network it claims to be"),
        ({"shape": [2, 8, 8]}, "expected mean as 2 float32, got 1 float32"),
    ],
)  # fmt: skip
def test_impossible_metadata_is_one_line_and_takes_no_memory(about, message, tmp_path):
    model = written(tmp_path / "m.safetensors", **{"spec": "mlp:0.01"} | about)
    with pytest.raises(StoreError, match=message):
        load_net(model, device=CPU)


@pytest.mark.parametrize("about", ["", "[]", "{}", "nan", '{"net": "mlp"}', "\x00", '{"net": "mlp:0.01"' * 1000])
def test_metadata_that_is_no_description_of_a_net(about, tmp_path):
    save_file({"mean": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"secateur": about})
    with pytest.raises(StoreError, match="not a whole net saved by secateur"):
        load_about(tmp_path / "m.safetensors")
    save_file({"mean": torch.zeros(1)}, tmp_path / "m.safetensors")
    with pytest.raises(StoreError, match="not a whole net saved by secateur"):
        load_about(tmp_path / "m.safetensors")


def _changed(tensors, change):
    return {name: value for name, value in (tensors | change).items() if value is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": None}, "expected mean as 1 float32, found none"),
        ({"spread": torch.zeros(1)}, "spread holds numbers that are impossible"),
        ({"spread": torch.tensor([-1.0])}, "spread holds numbers"),
        ({"mean": torch.tensor([torch.nan])}, "mean holds numbers"),
        ({"mean": torch.zeros(1, dtype=torch.float64)}, "expected mean as 1 float32, got 1 float64"),
        ({"mean": torch.zeros(1, 8)}, "expected mean as 1 float32, got 1x8 float32"),
        ({"body.head.weight": None}, "lacks body.head.weight"),
        ({"body.tail.weight": torch.zeros(1)}, "holds an unknown body.tail.weight"),
        ({"body.head.bias": torch.zeros(10, dtype=torch.int64)}, "expected body.head.bias as 10 float32, got 10 int64"),
        ({"body.head.bias": torch.zeros(3)}, "expected body.head.bias as 10 float32, got 3 float32"),
    ],
)
@pytest.mark.parametrize("spec", ["mlp:0.01", f"{HERE}:own"])
def test_tensors_that_are_not_those_of_the_net_are_a_damaged_file(spec, change, message, tmp_path):
    tensors = _changed(load_file(saved(tmp_path / "s.safetensors", spec)), change)
    model = written(tmp_path / "m.safetensors", spec, tensors=tensors)
    with pytest.raises(StoreError, match=message):
        load_net(model, device=CPU, named=[f"{HERE}:own"])
    with (
        pytest.raises(StoreError, match=message)
        if "mean" in change or "spread" in change
        else pytest.raises(SecateurError)
    ):
        fresh = build(spec, shape=(1, 8, 8), classes=10, mean=torch.zeros(1), spread=torch.ones(1), seed=0)
        adopt(fresh, model)
        raise SecateurError("a head of another size stays fresh")


def test_a_teacher_named_in_python_as_a_module_needs_no_name():
    rows = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    net = build("mlp:0.01", shape=(1, 8, 8), classes=10, mean=torch.zeros(1), spread=torch.ones(1), seed=0)
    assert load_teacher(net, device=CPU, rows=rows, classes=10) is net


@pytest.mark.parametrize("spec", ["mlp:1e9", "mlp:hidden=1000000+1000000", "resnet50:64", "vit_small:64", "mlp:1e308"])
def test_a_net_of_more_weights_than_any_machine_trains_is_refused_before_memory_is_taken(spec):
    with pytest.raises(SecateurError, match="weights, more than 2,000,000,000|width|cannot be made"):
        build(spec, shape=(3, 32, 32), classes=10, mean=torch.zeros(3), spread=torch.ones(3), seed=0)
