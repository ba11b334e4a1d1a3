"""The learning rate of a rule in an optimiser that somebody else steps."""

from typing import Any

from torch.optim import Optimizer

from secateur.dynamic.sampler import Sampler


def follow(optimizer: Optimizer, sampler: Sampler) -> None:
    """Multiply every learning rate by the rule's for the time of each step; schedules see it as it was."""
    before: list[float] = []

    def scale(stepped: Any, args: Any, kwargs: Any) -> None:
        before[:] = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] *= sampler.rate

    def restore(stepped: Any, args: Any, kwargs: Any) -> None:
        for group, rate in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = rate

    optimizer.register_step_pre_hook(scale)
    optimizer.register_step_post_hook(restore)
