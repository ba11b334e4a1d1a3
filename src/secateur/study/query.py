"""The recall of each class on validation data, from a run that never saw it: what quotas by error are made of."""

import numpy as np

from secateur.errors import StoreError
from secateur.store.files import read_json, remove, write_json
from secateur.store.schemas.runs import Query
from secateur.study.budget import full_steps
from secateur.study.material import validation_ids
from secateur.study.record import RecordingPlan
from secateur.study.session import Session
from secateur.training.evaluate import accuracy
from secateur.training.loop import train as run_loop
from secateur.training.sampling import Shuffled


def recall_in(work: Session, plan: RecordingPlan) -> np.ndarray:
    """Recall (classes,) on the validation part of a net trained, as the recording run is, on the other 90 %.

    A run of its own, since every example of the recording run was trained on; written to query.json.
    """
    path, asked = work.out / "query.json", plan.as_json()
    if path.exists() and (known := read_json(path, Query))["asked"] == asked:
        if len(known["recall"]) != work.train.classes:
            raise StoreError(
                f"{path}: damaged or edited (expected the recall of {work.train.classes} classes, found "
                f"{len(known['recall'])}); delete it and run again"
            )
        return np.array(known["recall"])
    held = validation_ids(work, plan.seed)
    rest = np.setdiff1d(work.source.train.usable, held)
    net = work.build_net(plan.net, seed=plan.seed, whiten=plan.recipe.whiten)
    state = work.out / "state" / "query.safetensors"
    with work.progress.stage("a run on 90 % of the data, for the recall of each class") as advance:
        done = run_loop(
            net,
            work.train,
            plan.recipe,
            steps=full_steps(plan.recipe, len(rest)),
            sampler=Shuffled(rest, plan.seed),
            seed=plan.seed,
            save_to=state,
            watch=work.watch("query", advance),
        )
    recall = np.nan_to_num(accuracy(net, work.train, held).per_class, nan=1.0)  # no validation example: no known error
    write_json(path, {"asked": asked, "recall": recall.tolist()})
    work.out.note("query", {}, seconds=done.seconds, examples=done.examples)
    remove(state)
    return recall
