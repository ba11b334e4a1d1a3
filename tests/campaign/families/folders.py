"""What is in the finished OUT folders, and the commands that read them."""

from collections.abc import Callable

from tests.campaign.cases import Argv, Ground

FEW = ["--net", "mlp:0.1", "--threads", "1", "--json"]
WATCHED = ["--record-epochs", "2", "--epochs", "1", *FEW]
SCALED = ["--keep", "0.5", "--clusters", "4", "--workers", "1", "--json"]
USES: dict[str, tuple[str, Callable[[Ground], Argv]]] = {
    "report": ("run", lambda g: ["report", "out"]),
    "score": ("run", lambda g: ["score", "out", "--method", "el2n,aum", "--json"]),
    "select": ("run", lambda g: ["select", "out", "--keep", "0.4", "--method", "el2n", "--json"]),
    "prune": (
        "run",
        lambda g: ["prune", g.at("vec"), "--keep", "0.5", "--method", "el2n", "--train", *WATCHED, "--out", "out"],
    ),
    "prune otherwise": (
        "run",
        lambda g: ["prune", g.at("vec"), "--keep", "0.3", "--method", "aum", *WATCHED, "--out", "out"],
    ),
    "record": ("run-pics", lambda g: ["record", g.at("pics"), "--epochs", "1", *FEW, "--out", "out"]),
    "subset": (
        "run",
        lambda g: ["train", g.at("vec"), "--subset", "out", "--epochs", "1", *FEW, "--out", "secateur-out"],
    ),
    "teacher": (
        "run",
        lambda g: ["train", g.at("vec"), "--teacher", "out", "--epochs", "1", *FEW, "--out", "secateur-out"],
    ),
    "start": (
        "run",
        lambda g: ["train", g.at("vec"), "--start", "out", "--epochs", "1", "--json", "--out", "secateur-out"],
    ),
    "slim": ("run", lambda g: ["slim", "out", g.at("vec"), "--flops", "0.5", "--json", "--out", "secateur-out"]),
    "plan": ("run", lambda g: ["plan", g.at("vec"), "--out", "out", *WATCHED]),
    "embed": ("run", lambda g: ["scale", "embed", g.at("vec"), "--by", "out", "--json"]),
    "kept": ("pruned-pics", lambda g: ["record", "out/kept", "--epochs", "1", *FEW, "--out", "secateur-out"]),
    "report of pictures": ("pruned-pics", lambda g: ["report", "out"]),
    "compare": (
        "compared",
        lambda g: ["compare", g.at("vec"), "--methods", "el2n", "--keep", "0.5", *WATCHED, "--out", "out"],
    ),
    "report of compare": ("compared", lambda g: ["report", "out"]),
    "condense": (
        "condensed",
        lambda g: [
            "condense",
            g.at("vec"),
            "--per-class",
            "1",
            "--steps",
            "3",
            "--no-evaluate",
            "--json",
            "--out",
            "out",
        ],
    ),
    "report of condense": ("condensed", lambda g: ["report", "out"]),
    "train on synthetic": (
        "condensed",
        lambda g: ["train", "out/synthetic", "--epochs", "1", *FEW, "--out", "secateur-out"],
    ),
    "mine": (
        "mined",
        lambda g: ["mine", g.at("vec"), g.at("pool.parquet"), "--top", "2", "--epochs", "1", *FEW, "--out", "out"],
    ),
    "scale prune": ("scaled", lambda g: ["scale", "prune", g.at("shards"), *SCALED, "--out", "out"]),
    "scale prune otherwise": (
        "scaled",
        lambda g: ["scale", "prune", g.at("shards"), *SCALED, "--by", "random", "--out", "out"],
    ),
    "scale select": (
        "scaled",
        lambda g: ["scale", "select", "out", "--keep", "0.2", "--json", "--out", "secateur-out"],
    ),
    "report of scale": ("scaled", lambda g: ["report", "out"]),
    "instructions": (
        "instructed",
        lambda g: [
            "scale",
            "instructions",
            g.at("shards"),
            "--quality",
            g.at("quality.csv"),
            "--keep",
            "0.3",
            "--indicators",
            "clip",
            "--components",
            "3",
            "--json",
            "--out",
            "out",
        ],
    ),
}
PATTERNS: dict[str, tuple[str, ...]] = {
    "run": (
        "run.json",
        "bill.json",
        "proxy.json",
        "scores.parquet",
        "subset.parquet",
        "model.safetensors",
        "log.jsonl",
        "report.html",
        "recording.zarr/zarr.json",
        "recording.zarr/error_norm/zarr.json",
        "recording.zarr/error_norm/c/**/*",
        "recording.zarr/labels/**/zarr.json",
        "recording.zarr/labels/c/**/*",
        "subsets/*/subset.parquet",
        "kept/*",
        "cells/*/result.json",
        "cells/*/model.safetensors",
        "recording.zarr/correct/zarr.json",
    ),
    "run-pics": ("run.json", "model.safetensors", "recording.zarr/zarr.json", "recording.zarr/loss/c/**/*"),
    "pruned-pics": ("run.json", "bill.json", "subset.parquet", "kept/**/*.png", "scores.parquet"),
    "compared": (
        "run.json",
        "compare.json",
        "bill.json",
        "cells/*/result.json",
        "proxy.json",
        "cells/*/model.safetensors",
    ),
    "condensed": (
        "run.json",
        "synthetic.safetensors",
        "condense.json",
        "synthetic/*",
        "state/*",
        "synthetic/**/*.parquet",
    ),
    "mined": ("run.json", "mined.parquet", "mined/**/*", "model.safetensors", "state/*"),
    "scaled": (
        "run.json",
        "bill.json",
        "manifest.parquet/*",
        "kept_ids.parquet/*",
        "clusters.parquet",
        "groups.json",
        "stages/*/done/*",
        "stages/**/*.npy",
        "stages/**/*.json",
        "stages/selected.json",
        "stages/**/*.parquet",
    ),
    "instructed": (
        "run.json",
        "subsets/00.parquet",
        "subsets.parquet",
        "bill.json",
        "stages/**/*.npy",
        "stages/**/done/*",
    ),
}
NOTICED = {
    ("subset", "subset.parquet"),
    ("teacher", "model.safetensors"),
    ("start", "model.safetensors"),
    ("report", "subset.parquet"),
    ("report", "model.safetensors"),
    ("plan", "model.safetensors"),
    ("plan", "subset.parquet"),
    ("slim", "model.safetensors"),
}
"""Where one bit that is another must be noticed."""
