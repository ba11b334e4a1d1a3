"""What a step of condensing costs: ours, ours compiled, and a straightforward form of the same step, in turn.

    python benchmarks/condense_steps.py [--data digits] [--statistics data] [--methods dm,dc,dsa] [--rounds 3]

The straightforward form goes class after class as published: float32, one batch of real rows at a time, gradients of
all weights, one backward pass at the end. Of dc and dsa a step is one match, of cafe one match without the learning in
between. Memory is the most that the tensors of one more step held at a time, in MB, above what lay there before it.
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from condense import opened
from torch.profiler import ProfilerActivity, profile

from secateur.condensation import CAFE, CONDENSERS
from secateur.condensation.distribution import features_of
from secateur.condensation.frame import Ground, begin
from secateur.condensation.mosaic import expand
from secateur.condensation.passes import laid_out
from secateur.training.machine import keep_freed_memory
from secateur.training.seeding import generator

FORMS = ("plain", "ours", "compiled")


def sides(canvas, rows, ground: Ground, batch: int):
    """Class by class: its number, real rows and synthetic ones, varied alike."""
    size = len(rows) // ground.real.classes
    for c, real in enumerate(ground.real.draw(batch, ground.generator)):
        real, synthetic, vary = laid_out(real, last=False), rows[c * size : (c + 1) * size], ground.transform()
        yield (c, real, synthetic) if vary is None else (c, vary(real), vary(synthetic))


def plain_dm(canvas, ground: Ground) -> None:
    """Class means of features, the real ones detached."""
    net, rows, loss = features_of(ground.fresh_net()).requires_grad_(True), canvas.leaf(), torch.zeros(())
    for _, real, synthetic in sides(canvas, rows, ground, 256):
        loss = loss + (net(real).detach().mean(0) - net(synthetic).mean(0)).square().sum()
    canvas.move(torch.autograd.grad(loss, rows)[0])


def plain_dc(canvas, ground: Ground) -> None:
    """Gradients of all weights on both sides."""
    net, rows, loss = ground.fresh_net(), canvas.leaf(), torch.zeros(())
    weights = list(net.parameters())
    for c, real, synthetic in sides(canvas, rows, ground, 256):
        both = [
            torch.autograd.grad(F.cross_entropy(net(x), torch.full((len(x),), c)), weights, create_graph=graph)
            for x, graph in ((real, False), (synthetic, True))
        ]
        for a, b in zip(*both, strict=True):
            if a.ndim > 1:
                a, b = a.flatten(1), b.flatten(1)
                loss = loss + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    canvas.move(torch.autograd.grad(loss, rows)[0])


def plain_cafe(canvas, ground: Ground) -> None:
    """Maps at every depth, kept for both sides."""
    net, rows, loss = ground.fresh_net(), canvas.leaf(), torch.zeros(())
    centres, told, labels = [], [], []

    def depths(x):
        maps = []
        for k, layer in enumerate(net.blocks):
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU) or k == len(net.blocks) - 1:
                maps.append(x.flatten(1))
        return maps

    for c, real, synthetic in sides(canvas, rows, ground, 256):
        ours, theirs = depths(synthetic), [m.detach() for m in depths(real)]
        weights = [0.1] * (len(ours) - 2) + [1, 1]
        for weight, a, b in zip(weights, ours, theirs, strict=True):
            loss = loss + weight * (a.mean(0) - b.mean(0)).square().sum()
        centres.append(ours[-1].mean(0))
        told.append(theirs[-1])
        labels += [c] * len(real)
    products = torch.cat(told) @ torch.stack(centres).T
    loss = loss + 0.01 * F.cross_entropy(products, torch.tensor(labels), reduction="sum")
    canvas.move(torch.autograd.grad(loss, rows)[0])


def plain_idm(canvas, ground: Ground) -> None:
    """Classes in turn under one net of three; then two learn from ten batches each."""
    if not hasattr(canvas, "plain"):
        nets = [ground.fresh_net() for _ in range(3)]
        canvas.plain = [(n, torch.optim.SGD(n.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)) for n in nets]
    net, _ = canvas.plain[0]
    batch, weight, _ = CONDENSERS["idm"]().published(len(canvas.labels) // ground.real.classes)
    size = len(canvas.images) // ground.real.classes
    for c, real in enumerate(ground.real.draw(batch, ground.generator)):
        real, rows, vary = laid_out(real, last=False), canvas.leaf(), ground.transform()
        synthetic = expand(rows[c * size : (c + 1) * size])
        if vary is not None:
            real, synthetic = vary(real), vary(synthetic)
        features = net.blocks(synthetic).flatten(1)
        loss = (net.blocks(real).flatten(1).detach().mean(0) - features.mean(0)).square().sum()
        loss = loss + weight * 50 * F.cross_entropy(net.head(features), torch.full((len(features),), c))
        canvas.move(torch.autograd.grad(loss, rows)[0])
    for net, optimizer in canvas.plain[1:]:
        for _ in range(10):
            places = torch.randperm(len(ground.real.rows), generator=ground.generator)[:256]
            some = laid_out(ground.real.normalise(ground.real.rows[places]), last=False)
            optimizer.zero_grad()
            F.cross_entropy(net(some), ground.real.labels[places]).backward()
            optimizer.step()


PLAIN = {"dm": plain_dm, "dc": plain_dc, "dsa": plain_dc, "cafe": plain_cafe, "idm": plain_idm}


def stepping(name: str, count: int, form: str, real):
    """A function that does one step in that form."""
    method = CONDENSERS[name]()
    ground = Ground.of(real, generator(0, "steps"), augment=method.augment, compiled=form == "compiled")
    canvas = begin(method, ground, per_class=count, init=None, rate=1e-6)

    def step() -> None:
        if form == "plain":
            PLAIN[name](canvas, ground)
        elif name in ("dc", "dsa") or isinstance(method, CAFE):
            method.match(ground.fresh_net(), canvas, ground)
        else:
            method.step(canvas, ground)

    return step


def held(step) -> float:
    """The most that tensors held at a time during a step, in MB above the start."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        step()
    events = [e for e in told.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return float(np.cumsum([0, *changes]).max()) / 2**20


def timed(name: str, count: int, real, rounds: int) -> tuple[list[float], list[float]]:
    """The median seconds of each form, in turn; and what it held."""
    steps = {form: stepping(name, count, form, real) for form in FORMS}
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for k in range(rounds + 2):
        for form, step in steps.items():
            began = time.perf_counter()
            step()
            if k > 1:  # the first two compile
                seconds[form].append(time.perf_counter() - began)
    return [float(np.median(seconds[form])) for form in FORMS], [held(steps[form]) for form in FORMS]


def main() -> None:
    """A line a method and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--statistics", default="data")
    parser.add_argument("--methods", default="dm,dc,dsa,cafe,idm")
    parser.add_argument("--counts", default="1,10")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    real, _ = opened(asked.data, asked.statistics)
    for name in asked.methods.split(","):
        for count in map(int, asked.counts.split(",")):
            (plain, ours, compiled), memory = timed(name, count, real, asked.rounds)
            cells = [name, count, f"{plain:.3f}", f"{ours:.3f}", f"{plain / ours:.1f}", f"{compiled:.3f}"]
            print(
                "|",
                " | ".join(map(str, [*cells, f"{plain / compiled:.1f}", *(f"{m:.0f}" for m in memory)])),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
