"""Secateur prunes training data: it watches a short run, scores every example, keeps the part worth training on.

    import secateur as sc

    subset = sc.prune("digits", keep=0.3, out="pruned")

Names are resolved when first used: `import secateur` loads nothing heavy.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Recorder": "secateur.training.recorder",
    "Recording": "secateur.store.recording",
    "Subset": "secateur.store.tables",
    "SecateurError": "secateur.errors",
    "Weighted": "secateur.registry",
    "prune": "secateur.study.prune",
    "record": "secateur.study.record",
    "score": "secateur.study.score",
    "select_from": "secateur.study.select",
    "train": "secateur.study.train",
    "compare": "secateur.study.compare",
    "slim": "secateur.study.slim",
    "condense": "secateur.study.condense",
    "mine": "secateur.study.mine",
    "plan": "secateur.study.plan",
    "open_data": "secateur.data.source",
}
_MODULES = ("checks", "dynamic", "fields", "scale", "scores", "select")

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"secateur.{name}")
    raise AttributeError(f"module 'secateur' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
