"""What turns raw rows into embeddings: nets trained elsewhere, a net of your own, or the rows as they are."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import SecateurError, reason, refused
from secateur.extras import optional
from secateur.registry import unknown
from secateur.training.foreign import own_net
from secateur.training.hub import pretrained
from secateur.training.nets import Normalised, load_net, model_in
from secateur.training.probes.penultimate import Penultimate
from secateur.training.seeding import initialised

KINDS = ("input", "an OUT folder", "timm:NAME", "transformers:NAME", "package.module:function")


@dataclass(frozen=True)
class Embedder:
    """Raw rows (batch, ...) to embeddings (batch, dims) float32 on `device`: a net in eval mode, never trained."""

    spec: str
    net: nn.Module
    device: torch.device

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        out = self.net(rows.to(self.device))
        if not isinstance(out, Tensor):
            raise SecateurError(f"embedder: {self.spec} must give a tensor (batch, dims), got {type(out).__name__}")
        if out.ndim != 2 or len(out) != len(rows) or not out.is_floating_point():
            raise SecateurError(
                f"embedder: {self.spec} must give floats of shape (batch, dims), got {out.dtype} of shape "
                f"{tuple(out.shape)} for {len(rows)} rows"
            )
        return out.float()


def embedder(spec: str, *, shape: tuple[int, ...], device: torch.device, named: Collection[str] = ()) -> Embedder:
    """An embedder for rows of that shape: uint8 (channels, height, width), or float vectors (dims,).

    spec: `input`, the rows themselves, flattened, images over 255; `timm:NAME` or `transformers:NAME`, a net with the
    weights it was trained to by others, fetched the first time, behind the size and normalisation it was trained with
    (grey images as three channels alike); `package.module:function`, called as function(shape), for a net of your own
    that takes the raw rows; or the OUT folder or model file of a net of secateur, whose features are what enters its
    last layer. timm's images are resized whole, without its central crop, which would hide the border. spec always
    comes from the user, never from a file. named: nets of your own that such a file may hold; see `load_net`.

    Raises SecateurError where there is no such thing, or no network to fetch it; MissingExtra without the package.
    """
    name, _, rest = spec.partition(":")
    if spec == "input":
        net: nn.Module = Input()
    elif name in _HUBS and rest:
        if len(shape) != 3:
            raise SecateurError(f"embedder: {spec} takes images, but the data are vectors of {shape[0]}; use input")
        net = _HUBS[name](rest)
    elif spec and Path(spec).exists():
        option = "--net, or where there is none name a package.module:function that loads it as the embedder"
        net = Features(load_net(model_in(Path(spec)), device=device, named=named, option=option))
    elif "." in name and rest:
        with initialised(0):  # a net that draws its weights draws the same ones each time
            net = own_net("embedder", spec, shape)
    else:
        raise unknown("embedder", spec, list(KINDS))
    return Embedder(spec, net.to(device).eval(), device)


class Input(nn.Module):
    """The rows as they are."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.flatten(1).float() / (255 if rows.ndim == 4 else 1)


class Features(nn.Module):
    """What enters the last layer of a net."""

    def __init__(self, net: Normalised) -> None:
        super().__init__()
        self.net = net

    def forward(self, rows: Tensor) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):
            return Penultimate(self.net)(rows)[0]


class Resized(nn.Module):
    """A net behind the size, mean and spread (over 255) of the images it was trained on."""

    mean: Tensor
    spread: Tensor

    def __init__(self, body: nn.Module, size: tuple[int, int], mean: Tensor, spread: Tensor, mode: str) -> None:
        super().__init__()
        self.body, self.size, self.mode = body, size, mode
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("spread", spread.view(-1, 1, 1))

    def forward(self, rows: Tensor) -> Tensor:
        images = _colour(rows).float() / 255
        if images.shape[2:] != self.size:
            images = F.interpolate(images, self.size, mode=self.mode, antialias=True).clamp(0, 1)  # bicubic overshoots
        return self.body((images - self.mean) / self.spread)


def _colour(rows: Tensor) -> Tensor:
    return rows.expand(-1, 3, -1, -1) if rows.shape[1] == 1 else rows


def _timm(name: str) -> nn.Module:
    timm = optional("timm", "embedder")
    try:
        with initialised(0):
            net = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:
        raise refused(error, f"embedder: fetching timm:{name}") or SecateurError(
            f"embedder: timm:{name} with trained weights could not be had ({reason(error)}); check the name with "
            f"timm.list_pretrained(), and the network, which the weights come over the first time"
        ) from None
    about = net.pretrained_cfg
    mode = about.get("interpolation") if about.get("interpolation") == "bilinear" else "bicubic"
    return Resized(net, tuple(about["input_size"][1:]), torch.tensor(about["mean"]), torch.tensor(about["std"]), mode)


class Pooled(nn.Module):
    """A model of `transformers` behind its own image processor; token: take the class token, for want of a pooler."""

    def __init__(self, name: str, model: nn.Module, processor: Callable[..., Any], *, token: bool) -> None:
        super().__init__()
        self.name, self.model, self.processor, self.token = name, model, processor, token

    def forward(self, rows: Tensor) -> Tensor:
        images = list(_colour(rows).permute(0, 2, 3, 1).cpu().numpy())
        given = self.processor(images=images, return_tensors="pt", input_data_format="channels_last")
        pixels = given["pixel_values"].to(rows.device)
        embed = getattr(self.model, "get_image_features", self.model)  # of models of images and text
        out = embed(pixel_values=pixels)
        pooled = out if isinstance(out, Tensor) else getattr(out, "pooler_output", None)
        if self.token:
            pooled = out.last_hidden_state[:, 0]
        if pooled is None:
            raise SecateurError(
                f"embedder: transformers:{self.name} gives {', '.join(out)}, but no pooled output; write the function "
                f"that makes an embedding of them, as package.module:function"
            )
        return pooled.flatten(1)


def _transformers(name: str) -> nn.Module:
    processor, model, absent = pretrained(name, "images", "AutoImageProcessor")
    return Pooled(name, model, processor, token=bool(absent))


_HUBS: dict[str, Callable[[str], nn.Module]] = {"timm": _timm, "transformers": _transformers}
