"""Model files that somebody sends: names of modules, shapes and sizes that are none, weights that do not fit."""

import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.campaign.cases import Argv, Case, Expect, Ground, Plan, numbered
from tests.campaign.families.ids import Evil

Content = Callable[[Ground], bytes]
GOOD = {"net": "mlp:0.1", "shape": [6], "classes": 3}
EVIL_NETS = (
    "dateutil.zoneinfo.rebuild:check_call", "this:x", "this:c", "os:mkdir", "subprocess:check_call", "builtins:eval",
    "secateur.cli:main", "antigravity:x", "timm:resnet18", "transformers:x", "../../x", "", "mlp", "mlp:1e9", "mlp:-1",
    "mlp:nan", "mlp:inf", "resnet9:1e6", "vit_tiny:tokens=nan", "\x1b[31mred", "a" * 10000, "mlp:0.1,0.1",
    "tests.golden:x",
)  # fmt: skip
ODD_ABOUT: dict[str, Any] = {
    "no net": {"shape": [6], "classes": 3},
    "no shape": {"net": "mlp:0.1", "classes": 3},
    "list": [1],
    "null": None,
    "number": 3,
    "net null": GOOD | {"net": None},
    "net list": GOOD | {"net": ["mlp:0.1"]},
    "shape text": GOOD | {"shape": "6"},
    "shape empty": GOOD | {"shape": []},
    "shape huge": GOOD | {"shape": [10**12]},
    "shape negative": GOOD | {"shape": [-6]},
    "shape zero": GOOD | {"shape": [0]},
    "shape float": GOOD | {"shape": [6.0]},
    "shape four": GOOD | {"shape": [1, 2, 3, 4]},
    "shape words": GOOD | {"shape": ["touch", "PWNED"]},
    "classes null": GOOD | {"classes": None},
    "classes huge": GOOD | {"classes": 10**12},
    "classes negative": GOOD | {"classes": -1},
    "classes zero": GOOD | {"classes": 0},
    "classes float": GOOD | {"classes": 3.5},
    "classes text": GOOD | {"classes": "3"},
    "classes true": GOOD | {"classes": True},
    "classes other": GOOD | {"classes": 4},
    "shape other": GOOD | {"shape": [7]},
    "nan": GOOD | {"classes": float("nan")},
    "net other": GOOD | {"net": "resnet9:0.1"},
    "width other": GOOD | {"net": "mlp:0.5"},
}


def saved(ground: Ground, about: Any, change: Callable[[dict[str, Any]], None] | None = None) -> bytes:
    """The model of the finished run, with other metadata or other tensors."""
    from safetensors.numpy import load, save

    tensors = load((ground / "run" / "model.safetensors").read_bytes())
    if change is not None:
        change(tensors)
    text = about if isinstance(about, str) else json.dumps(about)
    return save(tensors, metadata={"secateur": text})


def _filled(value: float) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        for name in tensors:
            tensors[name] = np.full_like(tensors[name], value) if tensors[name].dtype.kind == "f" else tensors[name]

    return change


def _without(tensors: dict[str, Any]) -> None:
    tensors.pop(sorted(tensors)[0])


def _more(tensors: dict[str, Any]) -> None:
    tensors["more"] = np.zeros(3, np.float32)


def _ints(tensors: dict[str, Any]) -> None:
    for name in tensors:
        tensors[name] = tensors[name].astype(np.int64)


def _flat(tensors: dict[str, Any]) -> None:
    for name in tensors:
        tensors[name] = tensors[name].ravel()[:1]


def _head(length: int, text: bytes = b"{}") -> Content:
    return lambda ground: struct.pack("<Q", length) + text


def _bare(ground: Ground) -> bytes:
    from safetensors.numpy import save

    return save({"mean": np.zeros(6, np.float32)})


FILES: dict[str, Content] = {
    "nan weights": lambda g: saved(g, GOOD, _filled(float("nan"))),
    "inf weights": lambda g: saved(g, GOOD, _filled(np.inf)),
    "a tensor less": lambda g: saved(g, GOOD, _without),
    "whole numbers": lambda g: saved(g, GOOD, _ints),
    "flat tensors": lambda g: saved(g, GOOD, _flat),
    "metadata no JSON": lambda g: saved(g, "{"),
    "no metadata": _bare,
    "metadata deep": lambda g: saved(g, "[" * 100_000),
    "header huge": _head(2**63 - 1),
    "header long": _head(100_000_000),
    "header text": _head(4, b"evil"),
    "header offsets": _head(70, b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,999]}}'.ljust(70)),
    "pickle": lambda g: pickle.dumps(Evil()),
    "empty": lambda g: b"",
    "text": lambda g: b"hello",
    "cut": lambda g: saved(g, GOOD)[:-50],
    "zip": lambda g: b"PK\x03\x04" + bytes(50),
}
USES: dict[str, Callable[[Ground, str], Argv]] = {
    "teacher": lambda g, m: ["train", g.at("vec"), "--epochs", "1", "--net", "mlp:0.1", "--teacher", m],
    "start": lambda g, m: ["train", g.at("vec"), "--epochs", "1", "--start", m],
    "slim": lambda g, m: ["slim", m, g.at("vec"), "--flops", "0.5"],
    "mine": lambda g, m: ["mine", g.at("vec"), g.at("pool.parquet"), "--top", "2", "--model", m],
    "plan": lambda g, m: [
        "plan",
        g.at("vec"),
        "--start",
        m,
        "--reach",
        "0.3",
        "--record-epochs",
        "1",
        "--net",
        "mlp:0.1",
    ],
    "embed": lambda g, m: ["scale", "embed", g.at("vec"), "--by", m],
}


def _make(use: str, content: Content) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        model = "sent"
        ground.copy("run", folder, "sent")
        (folder / "sent" / "model.safetensors").write_bytes(content(ground))
        if use in ("slim", "plan"):
            model = "sent/model.safetensors"
        threads = [] if use == "embed" else ["--threads", "1"]
        return [[*USES[use](ground, model), *threads, "--json", "--out", "out"]]

    return make


def cases(plan: Plan) -> list[Case]:
    """Every kind of file, through every way a model is read."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    rng = plan.rng("models")
    for use in USES:
        yield Case(f"{use}: as it was", _make(use, lambda g: saved(g, GOOD)), "either")
        for net in rng.choice(EVIL_NETS, 13, replace=False).tolist() + [EVIL_NETS[0], "this:c"]:
            content = lambda g, net=net: saved(g, GOOD | {"net": net})
            yield Case(f"{use}: net {net[:40]!r}", _make(use, content), "refused")
        for name in rng.choice(list(ODD_ABOUT), 14, replace=False).tolist():
            content = lambda g, name=name: saved(g, ODD_ABOUT[name])
            yield Case(f"{use}: metadata {name}", _make(use, content), _fits(name, use))
        for name in rng.choice(list(FILES), 10, replace=False).tolist():
            yield Case(f"{use}: {name}", _make(use, FILES[name]), _fits(name, use))


def _fits(name: str, use: str) -> Expect:
    """A fresh head is given to what is trained further, whatever head the file has."""
    loose = ("classes other", "a tensor less") if use in ("start", "plan") else ()
    return "either" if name in ("classes float", "shape float", "classes true", *loose) else "refused"
