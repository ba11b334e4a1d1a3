"""Where a training run stands at the end of an epoch, as one file without pickle."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import SecateurError, StoreError, described, reason
from secateur.store.files import replacing


def save(
    path: Path,
    net: nn.Module,
    optimizers: list[Optimizer],
    what: dict[str, Any],
    others: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Write the net, the optimisers' and others' states, by name, and what else to know (numbers and text)."""
    tensors: dict[str, Tensor] = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"{other}.{name}": value for other, state in others.items() for name, value in state.items()}
    moving = momentum(optimizers)
    tensors |= {name: value for name, value in moving.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in moving.items() if not isinstance(value, Tensor)}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"secateur": json.dumps({"about": what, "plain": plain}, sort_keys=True)})


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """What a checkpoint holds is put where it belongs; raises StoreError where it does not fit there.

    A checkpoint is a file like any other, so its names, shapes and numbers may be of anything.
    """
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, AssertionError) as error:
        if isinstance(error, SecateurError) or described(error) is not None:
            raise
        raise StoreError(
            f"{path}: not a checkpoint of this run ({type(error).__name__}: {reason(error)}); delete it to start this "
            f"stage again"
        ) from None


def about(path: Path) -> dict[str, Any]:
    """The numbers and text of a checkpoint; raises StoreError for one that cannot be read."""
    return dict(_metadata(path).about)


def epoch_of(path: Path) -> int:
    """How many epochs were done when a checkpoint was written."""
    epoch = about(path).get("epoch")
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        raise StoreError(f"{path}: checkpoint damaged (epoch is {epoch!r}); delete it to start this stage again")
    return epoch


def load(
    path: Path, net: nn.Module, optimizers: list[Optimizer], others: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Put the net and the optimisers where they were; returns the numbers and text, and the states of `others`.

    Raises StoreError for a checkpoint that is damaged, or of another net.
    """
    metadata = _metadata(path)
    with restoring(path):
        tensors = load_file(path)
        net.load_state_dict(under("net.", tensors))
        set_momentum(optimizers, {**tensors, **metadata.plain})
    return dict(metadata.about), {name: under(f"{name}.", tensors) for name in others}


def momentum(optimizers: list[Optimizer]) -> dict[str, Any]:
    """What the optimisers carry from step to step, by names that say of which parameter."""
    return {
        f"optimizer.{k}.{p}.{name}": value
        for k, optimizer in enumerate(optimizers)
        for p, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def set_momentum(optimizers: list[Optimizer], values: Mapping[str, Any]) -> None:
    """Put it back; names of anything else are passed over."""
    for k, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, Any]] = {}
        for name, value in under(f"optimizer.{k}.", values).items():
            p, _, key = name.partition(".")
            states.setdefault(int(p), {})[key] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What is named with that prefix, without it."""
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


class _Metadata(BaseModel):
    """What stands beside the tensors of a checkpoint: text and numbers, and numbers of the optimisers."""

    model_config = ConfigDict(strict=True, extra="forbid")
    about: dict[str, Any]
    plain: dict[str, bool | int | float | None]


def _metadata(path: Path) -> _Metadata:
    try:
        with safe_open(path, framework="pt") as file:
            return _Metadata.model_validate_json(file.metadata()["secateur"])
    except Exception as error:
        raise StoreError(f"{path}: checkpoint damaged ({reason(error)}); delete it to start this stage again") from None
