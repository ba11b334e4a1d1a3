"""Where a training run stands at the end of an epoch, as one file without pickle."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import StoreError, reason, refused
from secateur.store.files import replacing
from secateur.store.schemas import checked, parsed
from secateur.store.schemas.condensed import CheckpointAbout, Standing


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


def about(path: Path, schema: Any = dict[str, Any]) -> dict[str, Any]:
    """The numbers and text of a checkpoint, as a schema says; raises StoreError for one that cannot be read."""
    return dict(checked(_metadata(path)["about"], schema, path))


@runtime_checkable
class Stateful(Protocol):
    """What has a state of tensors by name."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any: ...


def load(path: Path, net: nn.Module, optimizers: list[Optimizer], others: Mapping[str, Stateful]) -> dict[str, Any]:
    """Put the net, the optimisers and others, by name, where they were; returns the numbers and text.

    Raises StoreError for a checkpoint that is damaged, or of something else.
    """
    metadata, tensors = _metadata(path), tensors_in(path, _EXPECTED, _WAY)
    told = dict(checked(metadata["about"], Standing, path))
    with damage(path, _EXPECTED, _WAY):
        net.load_state_dict(under("net.", tensors))
        set_momentum(optimizers, {**tensors, **metadata["plain"]})
        for name, other in others.items():
            if state := under(f"{name}.", tensors):
                other.load_state_dict(state)
    return told


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
        shapes = [value.shape for group in optimizer.param_groups for value in group["params"]]
        for name, value in under(f"optimizer.{k}.", values).items():
            p, _, key = name.partition(".")
            if isinstance(value, Tensor) and value.ndim and value.shape != shapes[int(p)]:
                raise ValueError(f"optimizer.{k}.{name} has shape {tuple(value.shape)}, not {tuple(shapes[int(p)])}")
            states.setdefault(int(p), {})[key] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What is named with that prefix, without it."""
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


_EXPECTED, _WAY = "checkpoint", "delete it to start this stage again"


def _metadata(path: Path) -> dict[str, Any]:
    return dict(parsed(metadata_in(path, _EXPECTED, _WAY), CheckpointAbout, path))


@contextmanager
def damage(path: Path, what: str, way: str) -> Iterator[None]:
    """Whatever fails when a file is read that this program wrote, as an error that names it; what: it should be."""
    try:
        yield
    except Exception as error:
        damaged = StoreError(f"{path}: {what} damaged ({reason(error)}); {way}")
        raise refused(error, f"reading {path}") or damaged from None


def metadata_in(path: Path, what: str, way: str) -> str:
    """What this program wrote into the header of a safetensors file. Raises StoreError where it cannot be read."""
    with damage(path, what, way):
        _check_file(path)
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {})["secateur"])


def tensors_in(path: Path, what: str, way: str, *, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises StoreError where it cannot be read."""
    with damage(path, what, way):
        _check_file(path)
        return load_file(path, device=device)


def _check_file(path: Path) -> None:
    """A pipe would be waited for."""
    if not path.is_file():
        raise FileNotFoundError("there is no such file" if not path.exists() else "not a regular file")
