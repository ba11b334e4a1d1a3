"""Where a training run stands at the end of an epoch, as one file without pickle."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import StoreError
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
    plain: dict[str, Any] = {}
    for k, optimizer in enumerate(optimizers):
        for p, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{k}.{p}.{name}"] = value
                else:
                    plain[f"optimizer.{k}.{p}.{name}"] = value
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"secateur": json.dumps({"about": what, "plain": plain}, sort_keys=True)})


def about(path: Path) -> dict[str, Any]:
    """The numbers and text of a checkpoint; raises StoreError for one that cannot be read."""
    return dict(_metadata(path)["about"])


def load(
    path: Path, net: nn.Module, optimizers: list[Optimizer], others: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Put the net and the optimisers where they were; returns the numbers and text, and the states of `others`."""
    metadata = _metadata(path)
    tensors = load_file(path)
    net.load_state_dict(_under("net.", tensors))
    for k, optimizer in enumerate(optimizers):
        whole = optimizer.state_dict()
        prefix = f"optimizer.{k}."
        states: dict[int, dict[str, Any]] = {}
        for name, value in {**tensors, **metadata["plain"]}.items():
            if name.startswith(prefix):
                p, _, key = name.removeprefix(prefix).partition(".")
                states.setdefault(int(p), {})[key] = value
        optimizer.load_state_dict({"state": states, "param_groups": whole["param_groups"]})
    return dict(metadata["about"]), {name: _under(f"{name}.", tensors) for name in others}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _metadata(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads(file.metadata()["secateur"]))
    except Exception as error:
        raise StoreError(f"{path}: checkpoint damaged ({error}); delete it to start this stage again") from None
