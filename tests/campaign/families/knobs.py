"""Knobs after a colon: numbers out of their range, of another kind, or named twice."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaign.cases import Argv, Case, Ground, Plan, numbered

VALUES = ("nan", "inf", "-inf", "-1", "0", "", "x", "1.5", "1e9", "-0.5", "\u0661", "1e-300")
WORK = ("epochs", "steps", "runs", "batch", "rounds", "every", "rows", "horizon")
"""Of which a huge number is honest work, or means all."""
FEW = ["--net", "mlp:0.1", "--epochs", "1", "--threads", "1", "--json", "--out", "out"]
ODD_NETS = (
    "mlp:nan", "mlp:-1", "mlp:0", "mlp:1e9", "mlp:inf", "mlp:", "mlp:0.1:0.1", "resnet9:nan", "resnet9:1e6", "mlp:1e-9",
    "vit_tiny:tokens=nan", "vit_tiny:tokens=-1", "vit_tiny:tokens=0.5,tokens=0.6", "os:getcwd", "os:", ":os", "a:b:c",
    "no.such:thing", "secateur:__version__", "timm:", "timm:none", "mlp:0.1,0.2", "mlp:x=1", "transformers:none",
)  # fmt: skip
ODD_SPECS = {
    "--adversary": (
        "l2:eps=nan",
        "l2:eps=-1",
        "l2:eps=inf",
        "l2:eps=1/0",
        "l2:eps=1,steps=0",
        "l2:eps=1,steps=-1",
        "l2",
        "l3:eps=1",
        "l2:eps=1,eps=2",
        "linf:eps=8/nan",
        "l2:eps=1,step_size=nan,rule=constant",
        "l2:eps=1,steps=1.5",
        "l2:eps=1e400",
        "l2:eps=0,rule=constant",
        "l2:eps=1,step_size=-1,rule=constant",
        "l2:eps=1,rule=none",
        "l2:eps=",
    ),
    "--distill": (
        "a=nan",
        "a=-1",
        "a=2",
        "a=inf",
        "t=0",
        "t=nan",
        "t=-1",
        "t=inf",
        "mixup=nan",
        "mixup=-1",
        "cutmix=nan",
        "views=-1",
        "views=1.5",
        "top=-1",
        "top=nan",
        "a=0.5,a=0.6",
        "a",
        "a=",
        "=0.5",
        "on",
        "mixup=1e400",
        "b=1",
    ),
}


def _train(*more: str, copy: bool = False) -> Any:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        return [["train", ground.at("vec"), *FEW, *more]]

    return make


def _taught(*more: str) -> Any:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        return [["train", ground.at("vec"), "--teacher", ground.at("run"), *FEW, *more]]

    return make


def _chosen(spec: str) -> Any:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        ground.copy("run", folder)
        return [["prune", ground.at("vec"), "--method", spec, "--keep", "0.5", "--out", "out", "--json", *FEW[:2]]]

    return make


def _mined(spec: str) -> Any:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        job = ["mine", ground.at("vec"), ground.at("pool.parquet"), "--top", "2", "--per-class", "1"]
        return [[*job, "--model", ground.at("run"), "--condense-with", spec, "--out", "out", "--json"]]

    return make


def _fields(kind: Any) -> dict[str, Any]:
    fields = dataclasses.fields(kind)
    return {f.name: f.default for f in fields if f.name not in ("name", "views") and not isinstance(f.default, tuple)}


def _of_method(row: Any) -> dict[str, Any]:
    """The knobs of a method; a fixed list where the code does not tell them."""
    try:
        from secateur.methods.spec import _knobs

        return dict(_knobs(row))
    except ImportError:
        return {"epochs": 1, "window": 5, "per_class": 1, "c_d": 1.0, "drop": 0.1}


def _odd(kind: str, knobs: dict[str, dict[str, Any]], make: Any, each: int, plan: Plan) -> Iterator[Case]:
    rng = plan.rng(f"knobs {kind}")
    for name, own in knobs.items():
        for knob, default in own.items():
            pool = [v for v in VALUES if not (knob in WORK and v == "1e9")]
            values = ["nan"] + [v for v in rng.permutation(pool).tolist() if v != "nan"][:each]
            for value in [] if isinstance(default, str) else values:
                whole = isinstance(default, int) and not isinstance(default, bool)
                wrong = value in ("nan", "", "x") or (whole and value in ("1.5", "-0.5", "1e-300", "inf", "-inf"))
                spec = f"{name}:{knob}={value}"
                yield Case(f"{kind} {spec}", make(spec), "refused" if wrong else "either")
        first = next(iter(own), None)
        if first is not None:
            spec = f"{name}:{first}=1,{first}=2"
            yield Case(f"{kind} {spec}", make(spec), "refused")
        for spec in (f"{name}:", f"{name}:none=1", f"{name}:,", f"{name}:=", f"{name} "):
            yield Case(f"{kind} {spec}", make(spec), "refused" if "none=1" in spec else "either")


def cases(plan: Plan) -> list[Case]:
    """Of methods, rules, objectives, recipes, adversaries, teachers, condensers and nets."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    from secateur.dynamic.rules import RULES
    from secateur.methods import METHODS
    from secateur.methods.condensers import CONDENSERS
    from secateur.training.aims import AIMS
    from secateur.training.recipes import RECIPES, Recipe

    views = {"crop": 4, "flip": 1}
    methods = {n: _of_method(m) for n, m in METHODS.items() if not m.adversarial and n != "super-resolution"}
    yield from _odd("method", methods, _chosen, 1, plan)
    yield from _odd("rule", {n: _fields(k) for n, k in RULES.items()}, lambda s: _train("--rule", s), 2, plan)
    yield from _odd("objective", {n: _fields(k) for n, k in AIMS.items()}, lambda s: _train("--objective", s), 2, plan)
    own = {"fast": _fields(Recipe) | views}
    yield from _odd("recipe", own, lambda s: _train("--recipe", s), 3, plan)
    others = {n: {"lr": 0.1, "batch": 1} for n in RECIPES if n != "fast"}
    yield from _odd("recipe", others, lambda s: _train("--recipe", s), 2, plan)
    condensers = {n: {"rate": 1.0, "steps": 1, "batch": 1} for n in CONDENSERS}
    yield from _odd("condenser", condensers, _mined, 1, plan)
    for spec in ODD_NETS:
        yield Case(f"net {spec}", _train("--net", spec))
    for spec in ODD_SPECS["--adversary"]:
        wrong = "nan" in spec or "eps=2" in spec or spec in ("l2:eps=inf", "l2:eps=-1")
        yield Case(f"adversary {spec}", _train("--adversary", spec), "refused" if wrong else "either")
    for spec in ODD_SPECS["--distill"]:
        wrong = "nan" in spec or spec in ("a=0.5,a=0.6", "a=-1", "a=2", "t=0", "t=-1", "views=-1", "b=1", "on", "a=inf")
        yield Case(f"distill {spec}", _taught("--distill", spec), "refused" if wrong else "either")
