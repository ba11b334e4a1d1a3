"""What methods need probed, worked out before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from secateur.errors import SecateurError
from secateur.fields import FIELDS
from secateur.methods import METHODS, Method, Setting
from secateur.training.probes.table import PROBES

OWN = "proxy"
"""The features of the net that was recorded."""
Knobs = Mapping[str, Any]


@dataclass(frozen=True)
class Probing:
    """Probes by name with their knobs; where features come from; whether a run must be recorded first."""

    wanted: Mapping[str, Knobs]
    features: str
    needs_run: bool

    @classmethod
    def make(
        cls, methods: Sequence[Method], settings: Sequence[Setting], features: str | None, *, labelled: bool = True
    ) -> "Probing":
        """Merge what several methods ask for. Raises SecateurError where that cannot be had."""
        source = features or (OWN if labelled else "input")
        if not labelled:
            _refuse_unlabelled(methods, source)
        wanted: dict[str, Knobs] = {}
        for method in methods:
            for setting in settings:
                _check_features(method, setting, source)
                for name, knobs in method.probed(setting).items():
                    if wanted.setdefault(name, knobs) != knobs:
                        raise SecateurError(
                            f"method: {method.name} asks the probe `{name}` for {knobs}, another method for "
                            f"{wanted[name]}; compare them in two folders"
                        )
        logged = {n for m in methods for s in settings for n in m.fields(s) if n != "labels"}
        run = any(FIELDS[n].probe == "recorder" for n in logged)
        run |= any(PROBES[n].nets == "proxy" and (n, source == OWN) != ("features", False) for n in wanted)
        return cls(wanted, source, run)

    def along(self, name: str, knobs: Knobs) -> "Probing":
        """With one more probe, unless a method asks for it already."""
        return replace(self, wanted={name: knobs, **self.wanted}, needs_run=True)


def _check_features(method: Method, setting: Setting, source: str) -> None:
    """Gradients of the last layer are products with the features of the very net that erred."""
    if source != OWN and {"features", "errors"} <= set(method.fields(setting)):
        raise SecateurError(
            f"features: {method.name} multiplies the errors of the recorded net with its own features, so they cannot "
            f"come from {source}; leave --features out"
        )


def _refuse_unlabelled(methods: Sequence[Method], source: str) -> None:
    if source == OWN:
        raise SecateurError(
            "features: without labels no net can be recorded to give them; name a file of embeddings, `input` for the "
            "rows themselves, or a pre-trained net (timm:NAME, transformers:NAME, package.module:function)"
        )
    if needy := [m.name for m in methods if m.needs_labels]:
        without = ", ".join(name for name, row in METHODS.items() if not row.needs_labels)
        raise SecateurError(f"method: {needy[0]} needs labels, and the data has none; these work without: {without}")
