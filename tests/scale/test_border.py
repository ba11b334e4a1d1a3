"""Rows near a border stand guest in the next clusters, so that near-duplicates on two sides of it are found."""

import numpy as np
import pytest

from secateur.scale import Clustering, Dedup, Filter
from tests.scale.made import made, manifest, prune, stage, unit, write

THRESHOLD = 0.9


def outcome(folder, data, *, border, clusters=3, **options):
    """Of each row, in the order of the data: its reason, what it is a duplicate of, and its distance."""
    if not (folder / "shards").exists():
        write(folder / "shards", data)
    how = Clustering(clusters=clusters, unit_rows=64, border=border)
    options = {"dedup": Dedup(THRESHOLD), "keep": 1} | options
    prune(folder / "shards", folder / f"out-{border}", clustering=how, **options)
    found = manifest(folder / f"out-{border}")
    place = {one: i for i, one in enumerate(found["id"].tolist())}
    order = [place[one] for one in data.ids.tolist()]
    return {name: found[name][order] for name in ("reason", "duplicate_of", "distance", "cluster")}


def plainly(rows, distances, taken):
    """Who is a duplicate where every row is compared with all before it, the farthest from their centroids first."""
    order = [i for i in np.lexsort((np.arange(len(rows)), -distances)) if taken[i]]
    gone = np.zeros(len(rows), dtype=bool)
    for place, one in enumerate(order):
        gone[one] = max((float(rows[one] @ rows[other]) for other in order[:place]), default=-1) > THRESHOLD
    return gone


@pytest.mark.parametrize("filter", [None, Filter("clip", min=0.3)])
def test_with_guests_everywhere_duplicates_are_those_of_all_rows_together(tmp_path, filter):
    """Three clusters, and each row is a guest in both of the others: nothing is lost at any border."""
    data = made(200, spread=0.2)
    found = outcome(tmp_path, data, border=2.0, filter=filter)
    taken = data.clip >= 0.3 if filter else np.ones(200, dtype=bool)
    expected = plainly(unit(data.embeddings), found["distance"].astype(np.float32), taken)
    assert ((found["reason"] == "duplicate") == expected).all()
    assert expected.sum() > 20


def around(clip):
    """Sixty pairs around a circle, one degree wide and six apart."""
    angles = np.deg2rad(np.stack([np.arange(60) * 6 - 0.5, np.arange(60) * 6 + 0.5], axis=1).ravel())
    data = made(120, dims=2, blobs=2, planted=0)
    data.embeddings[:] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    data.clip[:] = clip
    return data


def test_a_pair_across_a_border_is_found_with_guests_and_lost_without(tmp_path):
    """Of 25 clusters some part a pair."""
    data = around(np.ones(120))
    lost = {}
    for border in (0.0, 0.05):
        found = outcome(tmp_path, data, border=border, clusters=25, dedup=Dedup(0.9995))  # 1.8 degrees
        apart = found["cluster"][::2] != found["cluster"][1::2]
        gone = (found["reason"] == "duplicate").reshape(60, 2)
        assert (gone.sum(axis=1) <= 1).all()
        lost[border] = ~gone.any(axis=1)
    assert apart.any()
    assert (lost[0.0] == apart).all()
    assert not lost[0.05].any()


def test_a_duplicate_names_another_row_that_is_as_alike(tmp_path):
    data = made(200, spread=0.2)
    found = outcome(tmp_path, data, border=2.0)
    rows = dict(zip(data.ids.tolist(), unit(data.embeddings), strict=True))
    chains = {one: other for one, other in zip(data.ids.tolist(), found["duplicate_of"], strict=True) if other}
    for one, other in chains.items():
        assert other != one
        assert other in rows
        seen = {one}
        while other in chains:  # it ends, at a row that stays
            assert other not in seen
            seen.add(other)
            other = chains[other]


def test_a_guest_that_the_filter_removed_makes_nobody_a_duplicate(tmp_path):
    """One of each pair does not pass, whichever is preferred: no other has a duplicate left."""
    for side in (0, 1):
        (tmp_path / str(side)).mkdir()
        data = around((np.arange(120) + side) % 2)
        how = {"clusters": 25, "dedup": Dedup(0.9995), "filter": Filter("clip", min=0.5)}
        found = outcome(tmp_path / str(side), data, border=0.05, **how)
        assert (found["cluster"][::2] != found["cluster"][1::2]).any()
        assert (found["reason"] == "filtered").sum() == 60
        assert not (found["reason"] == "duplicate").any()


def test_guests_are_the_rows_that_two_next_centroids_are_nearly_as_near_to(tmp_path):
    data, border = made(200, spread=0.2), 0.4
    outcome(tmp_path, data, border=border, clusters=6)
    centres = np.load(stage(tmp_path / f"out-{border}", "fit") / "centroids.npy")
    expected = set()
    for number, row in enumerate(unit(data.embeddings)):
        distances = 1 - centres @ row
        for cluster in np.argsort(distances)[1:3]:
            if distances[cluster] - distances.min() <= border:
                expected.add((number, int(cluster)))
    found = set()
    for folder in sorted(p for p in stage(tmp_path / f"out-{border}", "assign").iterdir() if p.name != "done"):
        firsts = np.load(folder / "guest_firsts.npy")
        clusters = np.repeat(np.arange(6), np.diff(firsts))
        found |= set(zip(np.load(folder / "guest_rows.npy").tolist(), clusters.tolist(), strict=True))
    assert found == expected
    assert 20 < len(found) < 380
