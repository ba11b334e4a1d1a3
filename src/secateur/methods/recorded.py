"""The methods that read what a run logs, as rows."""

from typing import Any

from secateur.methods.model import Method, Published, Setting


def dual_epochs(setting: Setting) -> dict[str, Any]:
    """The published 30 epochs (60 on ImageNet) in windows of ten, as far as the recording goes."""
    return setting.fit(60 if setting.published == "imagenet" else 30, 10)


def _whole_run(setting: Setting) -> dict[str, Any]:
    """Dyn-Unc reads the whole run in windows of 10; a recording too short for that is cut as DUAL's is."""
    return {} if setting.epochs >= 30 else {"window": setting.fit(30, 10)["window"]}


def _tdds_epochs(setting: Setting) -> dict[str, Any]:
    return setting.fit(*setting.by_ratio({0.3: (90, 10), 0.5: (70, 10), 0.7: (60, 20), 0.8: (20, 10), 0.9: (10, 5)}))


def _ccs_cutoff(setting: Setting) -> dict[str, Any]:
    ratios = (0.3, 0.5, 0.7, 0.8, 0.9)
    cutoffs: dict[Published, tuple[float, ...]] = {
        "cifar10": (0.0, 0.0, 0.1, 0.1, 0.3),
        "cifar100": (0.1, 0.2, 0.2, 0.4, 0.5),
        "imagenet": (0.0, 0.1, 0.2, 0.2, 0.3),
    }
    if setting.keep >= 0.85:
        return {"cutoff": 0.0}  # nothing to spare for a cut-off
    return {"cutoff": setting.by_ratio(dict(zip(ratios, cutoffs[setting.published], strict=True)))}


def _beta_constant(setting: Setting) -> dict[str, Any]:
    return {"c_d": {"cifar10": 5.5, "cifar100": 4.0, "imagenet": 11.0}[setting.published]}


def _first_ten(setting: Setting) -> dict[str, Any]:
    return {"epochs": min(10, setting.epochs)}


def _last(setting: Setting) -> dict[str, Any]:
    return {"epochs": -1}


RECORDED = (
    Method(
        "random",
        "random",
        "A uniform draw: the baseline to beat.",
        (),
        when="Always, as the rival to beat.",
    ),
    Method(
        "el2n",
        "hardest",
        "Length of the error vector over the first ten epochs.",
        ("el2n",),
        "el2n",
        _first_ten,
        when="Three tenths or more, with a teacher; collapses at a tenth.",
    ),
    Method(
        "forgetting",
        "hardest",
        "How often an example is unlearned.",
        ("forgetting",),
        "forgetting",
        when="Three tenths or more; below random at a tenth. Needs a run that unlearns.",
    ),
    Method(
        "aum",
        "hardest",
        "Small margins in logits over the whole run.",
        ("aum",),
        "aum",
        when="To find mislabelled examples (the hardest of all); as a pruning score it collapses at a tenth.",
    ),
    Method(
        "entropy",
        "hardest",
        "Undecided at the end of the run.",
        ("entropy",),
        "entropy",
        _last,
        when="The paper: large keeps with doubtful labels, which it does not read. Below random at a tenth.",
    ),
    Method(
        "dyn-unc",
        "hardest",
        "Spread of the label's probability in windows.",
        ("dyn-unc",),
        "dyn-unc",
        _whole_run,
        when="A few large classes, from a tenth up; with a hundred it starves some. The paper records for long.",
    ),
    Method(
        "tdds",
        "hardest",
        "Spread of the change between epochs in windows.",
        ("tdds",),
        "tdds",
        _tdds_epochs,
        when="A few large classes, from a tenth up. The paper fits the length of the recording to the keep.",
    ),
    Method(
        "dual",
        "beta",
        "Uncertain and hard in the first epochs; easier examples the less is kept.",
        ("dual",),
        "dual",
        dual_epochs,
        _beta_constant,
        {"p_mean": ("p-mean", lambda setting: {"epochs": dual_epochs(setting)["epochs"]})},
        half_a_run=True,
        when="The default: a tenth to three tenths of tens of thousands of rows.",
    ),
    Method(
        "ccs",
        "ccs",
        "Even coverage of the margins after a cut-off of the hardest.",
        ("ccs",),
        "aum-prob",
        select_knobs=_ccs_cutoff,
        inside="random",
        when="Small keeps without a teacher: some of every difficulty. Of wrong labels dual leaves out more.",
    ),
    Method(
        "drop",
        "drop",
        "More of the classes that validation errs on, at random inside.",
        ("drop",),
        recall=True,
        when="To help the worst class, at the price of a second run; on average below random at a tenth.",
    ),
    Method(
        "reid",
        "hardest",
        "Entropy of the mean logits, outliers left out (object re-identification).",
        ("reid",),
        "soft-label-entropy",
        purify=True,
        when="Re-identification, and wrong labels, which it corrects; as a pruning score below random at a tenth.",
    ),
    Method(
        "esps",
        "hardest",
        "How much the answer turns between epochs; kept once, where the paper draws again every epoch.",
        ("esps",),
        "esps",
        _first_ten,
        when="A very short recording is all there is; kept once, it is below random at a tenth.",
    ),
)
