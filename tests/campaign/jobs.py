"""The commands of the kill campaign: each with what stands in its folder before, and what it writes."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.campaign.cases import Argv, Ground

MLP = ["--net", "mlp:0.1", "--threads", "1"]
WATCHED = ["--record-epochs", "3", "--epochs", "2", *MLP]


@dataclass(frozen=True)
class Job:
    """copied: a finished folder of the ground that stands there as OUT before; None for a fresh OUT."""

    argv: Callable[[Ground], Argv]
    copied: str | None = None


def _scale(*words: str, workers: int = 1) -> Job:
    more = ["--clusters", "4", "--unit-rows", "32", "--workers", str(workers), "--out", "out"]
    return Job(lambda g: ["scale", words[0], g.at("shards"), *words[1:], *more])


def _prune(*more: str) -> Job:
    job = ["--keep", "0.5", "--method", "el2n", *WATCHED, "--out", "out"]
    return Job(lambda g: ["prune", g.at("vec"), *job, *more])


PICTURES = ["--keep", "0.5", "--method", "el2n", "--record-epochs", "2", *MLP, "--out", "out"]
CONDENSE = ["--per-class", "1", "--steps", "30", "--every", "10", "--no-evaluate", "--threads", "1", "--out", "out"]
COMPARE = ["--methods", "el2n", "--keep", "0.5", *WATCHED, "--out", "out"]
QUALITY = ["--keep", "0.3", "--indicators", "clip", "--components", "3", "--out", "out"]
JOBS: dict[str, Job] = {
    "prune": _prune(),
    "prune --train": _prune("--train"),
    "prune pictures": Job(lambda g: ["prune", g.at("pics"), *PICTURES]),
    "prune otherwise": Job(
        lambda g: ["prune", g.at("vec"), "--keep", "0.3", "--method", "aum", *MLP, "--out", "out"], "run"
    ),
    "prune --force": Job(lambda g: ["prune", g.at("pics"), *PICTURES, "--force"], "run"),
    "record": Job(lambda g: ["record", g.at("vec"), "--epochs", "4", *MLP, "--out", "out"]),
    "score": Job(lambda g: ["score", "out", "--method", "el2n,aum,entropy,forgetting"], "run"),
    "select": Job(lambda g: ["select", "out", "--keep", "0.3", "--method", "aum"], "run"),
    "train": Job(lambda g: ["train", g.at("vec"), "--epochs", "4", *MLP, "--out", "out"]),
    "train --subset": Job(
        lambda g: ["train", g.at("vec"), "--subset", "out", "--epochs", "2", *MLP, "--out", "out"], "run"
    ),
    "slim": Job(lambda g: ["slim", g.at("run"), g.at("vec"), "--flops", "0.5", "--out", "out"]),
    "mine": Job(
        lambda g: ["mine", g.at("vec"), g.at("pool.parquet"), "--top", "3", "--epochs", "2", *MLP, "--out", "out"]
    ),
    "condense": Job(lambda g: ["condense", g.at("vec"), *CONDENSE]),
    "plan": Job(lambda g: ["plan", g.at("vec"), *WATCHED, "--out", "out"], "run"),
    "compare": Job(lambda g: ["compare", g.at("vec"), *COMPARE]),
    "report": Job(lambda g: ["report", "out"], "run"),
    "scale embed": Job(lambda g: ["scale", "embed", g.at("vec"), "--by", "input", "--rows", "16", "--out", "out"]),
    "scale cluster": _scale("cluster"),
    "scale filter": _scale("filter", "--score", "clip", "--score-top", "0.5"),
    "scale dedup": _scale("dedup"),
    "scale density": _scale("density", "--keep", "0.4"),
    "scale prototypes": _scale("prototypes", "--keep", "0.4"),
    "scale prune": _scale("prune", "--keep", "0.4", "--write", "shards,keys"),
    "scale prune, two workers": _scale("prune", "--keep", "0.4", workers=2),
    "scale select": Job(
        lambda g: ["scale", "select", g.at("scaled"), "--keep", "0.2", "--workers", "1", "--out", "out"]
    ),
    "scale instructions": Job(
        lambda g: ["scale", "instructions", g.at("shards"), "--subsets", "6", "--indicators", "clip", "--out", "out"]
    ),
    "scale instructions, second run": Job(
        lambda g: ["scale", "instructions", g.at("shards"), "--quality", g.at("quality.csv"), *QUALITY], "instructed"
    ),
}
FEWER = ("scale prune, two workers",)
"""Which start processes anew, and so take long: killed less often."""
