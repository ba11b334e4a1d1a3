"""The two commands of docs/your-own.md for data without labels, on an unlabelled folder and on a table of vectors."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import secateur as sc
from secateur.store.tables import Subset
from tests.cli.test_cli import run


@pytest.fixture
def photos(tmp_path):
    """A folder of 40 images without labels, and embeddings of them in two groups."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    rows = rng.normal(size=(40, 6)) + 10 * np.eye(6)[np.arange(40) % 2]
    np.save(tmp_path / "embeddings.npy", rows.astype(np.float16))
    return folder


def test_an_unlabelled_folder_is_pruned_by_embeddings_alone(photos, tmp_path):
    out = tmp_path / "out"
    asked = ["--method", "ssp:clusters=2", "--features", tmp_path / "embeddings.npy", "--keep", "0.3"]
    told = json.loads(run("prune", photos, *asked, "--out", out, "--json").stdout)
    assert told["subset"]["kept"] == 12
    kept = sorted(int(p.stem) for p in (out / "kept").glob("*.png"))
    rows = np.load(tmp_path / "embeddings.npy").astype(np.float32)
    scores = sc.scores.ssp(rows, clusters=2)
    assert kept == np.sort(np.argsort(scores, kind="stable")[:12]).tolist()  # near the centres: less than half is kept
    assert not (out / "model.safetensors").exists()


def test_a_table_of_vectors_is_pruned_by_k_center_without_labels_or_a_run(tmp_path):
    rows = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    pq.write_table(pa.table({"vector": list(rows)}), tmp_path / "table.parquet")
    run("prune", tmp_path / "table.parquet", "--method", "k-center", "--keep", "0.1", "--out", tmp_path / "out")
    ids = Subset.open(tmp_path / "out").ids
    assert len(ids) == 20
    gaps = np.linalg.norm(rows[:, None] - rows[None, ids], axis=2)
    picked = np.linalg.norm(rows[ids][:, None] - rows[ids], axis=2) + np.eye(20) * 1e9
    assert gaps.min(axis=1).max() <= picked.min() + 1e-5  # greedy: no row is farther out than two picks are apart


def test_a_method_that_needs_labels_says_which_do_not(photos, tmp_path):
    done = run("prune", photos, "--method", "dual", "--keep", "0.3", "--out", tmp_path / "out", code=2)
    assert "dual needs labels, and the data has none; these work without: random, super-resolution, ssp" in done.stderr


def test_a_student_is_not_trained_on_classes_that_are_not_there(photos, tmp_path):
    done = run("prune", photos, "--method", "random", "--keep", "0.3", "--train", "--out", tmp_path / "out", code=2)
    assert "needs labels, and the data have none" in done.stderr


def test_comparing_needs_labels(photos, tmp_path):
    done = run("compare", photos, "--methods", "k-center", "--keep", "0.3", "--out", tmp_path / "out", code=2)
    assert "needs labels, and the data have none" in done.stderr
