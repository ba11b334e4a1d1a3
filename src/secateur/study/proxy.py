"""How good the recorded proxy is itself: the teacher's accuracy, and what its recording run would have given alone."""

from secateur.study.cell import Result
from secateur.study.record import RecordingPlan
from secateur.study.run import content_hash
from secateur.study.session import Session
from secateur.training.evaluate import accuracy
from secateur.training.nets import load_net


def proxy_in(work: Session, plan: RecordingPlan) -> Result:
    """The proxy on the test split, read once and kept in proxy.json; its work is that of the recording run."""
    model, path = work.out / "model.safetensors", work.out / "proxy.json"
    weights = content_hash(model.read_bytes())
    if path.exists() and (known := Result.read(path)).folder == weights:
        return known
    spent = work.out.known["stages"]["record"]
    usable = len(work.source.train.usable)
    result = Result.tested(
        accuracy(load_net(model, device=work.device, named=work.named), work.test),
        name="proxy",
        kept=usable,
        of=usable,
        steps=spent["steps"],
        examples=spent["examples"],
        seconds=spent["seconds"],
        seed=plan.seed,
        net=plan.net,
        recipe=plan.recipe.name,
        distill=None,
        folder=weights,
    )
    result.write(path)
    return result
