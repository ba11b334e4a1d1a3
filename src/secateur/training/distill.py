"""Learning from a teacher: the loss, its weight, and where teachers come from."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, NONE_OR_SOME, POSITIVE, SHARE, check_fields, fields_in, split_knobs
from secateur.registry import unknown
from secateur.training.nets import load_net, model_in


@dataclass(frozen=True)
class Distill:
    """How much a student listens: loss = (1 - a) * cross-entropy + a * t^2 * KL(teacher || student), temperature t.

    mixup, cutmix: above 0, each batch is mixed two by two by a share from Beta(mixup, mixup), or a box is cut in; the
    teacher is asked about the mixture, and the labels are mixed alike. With both, a coin decides. So a few examples
    become many: patient teaching, after Beyer et al. (arXiv:2106.05237), whose teacher is asked about mixtures too.

    views: above 0, an example is shown in so many views alone, epoch after epoch, and what the teacher says of them is
    asked once and kept; for a teacher that is expensive. top: of many classes, keep what it says of so many.
    """

    a: Annotated[float, SHARE]
    t: Annotated[float, POSITIVE] = 4.0
    mixup: Annotated[float, AMOUNT] = 0.0
    cutmix: Annotated[float, AMOUNT] = 0.0
    views: Annotated[int, NONE_OR_SOME] = 0
    top: Annotated[int, NONE_OR_SOME] = 0

    def __post_init__(self) -> None:
        check_fields(self, "distill: ")
        if self.mixes and self.views:
            raise SecateurError("distill: mixtures are new every time, so no answer to them is kept; leave views out")
        if self.top and not self.views:
            raise SecateurError("distill: top says how much of kept answers is kept; name how many views too: views=8")

    @property
    def mixes(self) -> bool:
        """Are images mixed?"""
        return bool(self.mixup or self.cutmix)

    def as_dict(self) -> dict[str, float]:
        """a and t, and of the rest what is used."""
        more = {"mixup": self.mixup, "cutmix": self.cutmix, "views": self.views, "top": self.top}
        return {"a": self.a, "t": self.t} | {name: value for name, value in more.items() if value}


def weight_for(keep: float) -> float:
    """The default weight `a` when a fraction `keep` is trained on: the less is kept, the more the teacher is heard.

    clip(1 - keep / 2, 0.5, 1) is our rule; Ben-Baruch et al. (arXiv:2403.07854) show that the best weight falls with
    keep and give no formula.

    >>> weight_for(0.1), weight_for(0.5), weight_for(1.0)
    (0.95, 0.75, 0.5)
    """
    return min(1.0, max(0.5, 1 - keep / 2))


_RANGES = dict(fields_in(Distill))
NAMES = tuple(_RANGES)


def parse(spec: "str | Distill | None", keep: float) -> Distill | None:
    """`auto` (a by keep), `off`, or `a=0.95,t=4,mixup=1` with any part left out.

    >>> parse("a=0.9", keep=0.3), parse("off", keep=0.3)
    (Distill(a=0.9, t=4.0, mixup=0.0, cutmix=0.0, views=0, top=0), None)
    """
    if spec is None or spec == "off":
        return None
    if isinstance(spec, Distill):
        return spec
    values: dict[str, Any] = {"a": weight_for(keep)}
    for name, text in split_knobs("" if spec == "auto" else spec, "distill").items():
        if name not in _RANGES and text:
            raise unknown("distill", name, list(NAMES))
        if name not in _RANGES or not text:
            raise SecateurError(
                f"distill: expected auto, off, or a=0.95,t=4 (and mixup, cutmix, views, top), got {spec!r}"
            )
        values[name] = _RANGES[name].read(text, f"distill: {name}")
    return Distill(**values)


def parse_grid(spec: "str | Distill | None") -> "tuple[str | Distill, ...]":
    """Every way of listening that a spec with several values names, each as `parse` takes it; none for `off`.

    >>> parse_grid("a=0,0.5,t=1,4"), parse_grid("auto"), parse_grid("off")
    (('a=0,t=1', 'a=0,t=4', 'a=0.5,t=1', 'a=0.5,t=4'), ('auto',), ())
    """
    if spec is None or spec == "off":
        return ()
    if isinstance(spec, Distill) or "=" not in spec:
        parse(spec, 0.5)
        return (spec,)
    values: dict[str, list[str]] = {}
    for part in spec.split(","):
        name, given, value = part.rpartition("=")
        values.setdefault(name if given else next(reversed(values)), []).append(value)
    each = [[f"{name}={value}" for value in found] for name, found in values.items()]
    grid = tuple(",".join(combination) for combination in itertools.product(*each))
    for one in grid:
        parse(one, 0.5)
    return grid


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """t^2 * KL(softmax(teacher / t) || softmax(student / t)) of each example; logits (batch, classes) in, (batch,) out.

    >>> divergence(torch.tensor([[0., 0.]]), torch.tensor([[0., 0.]]), 4.0)
    tensor([0.])
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1) * temperature**2


def load_teacher(
    teacher: Any,
    *,
    device: torch.device,
    rows: Tensor,
    classes: int | None,
    named: Collection[str] = (),
    option: str = "--teacher-net (teacher_net= in Python)",
) -> nn.Module:
    """A frozen teacher in eval mode: an OUT folder or a model file of secateur, or any module that takes raw rows.

    rows: two raw rows of the data, to see that the teacher takes them and knows as many classes; None for any number.
    named: the nets that the user named, and option, how: see `load_net`.
    """
    if isinstance(teacher, (str, Path)):
        module: nn.Module = load_net(model_in(Path(teacher)), device=device, named=named, option=option)
    elif isinstance(teacher, nn.Module):
        module = teacher.to(device)
    else:
        raise SecateurError(f"teacher: expected an OUT folder, a model file or a module, got {type(teacher).__name__}")
    module = module.eval().requires_grad_(False)
    try:
        shape = tuple(module(rows).shape)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SecateurError(f"teacher: does not take rows of shape {tuple(rows.shape[1:])} ({reason})") from None
    if classes is not None and shape != (len(rows), classes):
        raise SecateurError(f"teacher: expected logits for {classes} classes, got shape {shape} for {len(rows)} rows")
    return module
