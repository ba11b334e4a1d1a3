"""Killed anywhere and run again, a run ends with the same bytes, and does at most one task twice."""

import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from secateur.scale.engines import Local
from tests.scale.running import Counting, Deadly, content, pruned, write_shards

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
JOB = """
    import os, sys
    from pathlib import Path
    from tests.scale.running import Counting, die, pruned
    from secateur.scale import choose, cluster, dedup, kept, prune, quotas, stage
    from secateur.scale.engines import Local
    prune = sys.modules["secateur.scale.prune"]

    def die_at(call, owner, name, when=lambda *a, **k: True):
        '''Kill this process the `call`-th time owner.name is called (for which `when` holds).'''
        original, seen = getattr(owner, name), [0]
        def deadly(*args, **kwargs):
            seen[0] += bool(when(*args, **kwargs))
            if seen[0] == call:
                die()
            return original(*args, **kwargs)
        setattr(owner, name, deadly)

    def into(part):
        return lambda source, target: part in str(target)

    def of(folder):
        return lambda place, summary: f"/{{folder}}-" in place.url

    {kill}
    pruned(sys.argv[1], sys.argv[2], Counting(Local(1), Path(sys.argv[3])))
"""
POINTS = {
    "before anything is there": "die_at(1, os, 'replace', into('run.json'))",
    "in the middle of a unit": "die_at(3, cluster, 'write_keys')",
    "between write and rename of a unit's embeddings": "die_at(5, os, 'replace', into('embeddings.npy'))",
    "between the sample of a unit and its marker": "die_at(2, stage, 'mark', of('sample'))",
    "between the centroids and their marker": "die_at(1, stage, 'mark', of('fit'))",
    "between the files of a unit and their marker": "die_at(2, stage, 'mark', of('assign'))",
    "in the middle of a marker": "die_at(4, os, 'replace', into('/done/'))",
    "in the middle of a bucket": "die_at(2, dedup, 'most_alike')",
    "between a bucket's comparison and its marker": "die_at(2, stage, 'mark', of('dedup'))",
    "before the quotas": "die_at(1, prune, 'quotas')",
    "in the middle of the quotas": "die_at(1, quotas, 'largest_remainder')",
    "before anything is selected": "die_at(1, prune, 'select')",
    "between a part of the manifest and its ids": "die_at(2, choose, 'write_ids')",
    "between write and rename of a part of the manifest": "die_at(2, os, 'replace', into('manifest.parquet/'))",
    "between the selection of a bucket and its marker": "die_at(2, stage, 'mark', of('select'))",
    "in the middle of a kept shard": "die_at(3, kept, '_taken')",
    "between a kept shard and its marker": "die_at(2, stage, 'mark', of('shards'))",
    "before the sums are noted": "die_at(1, prune, 'note')",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Shards, and what comes of them where nothing is killed: its bytes, and its tasks."""
    folder = tmp_path_factory.mktemp("whole")
    shards = write_shards(folder / "shards")
    pruned(shards, folder / "out", Counting(Local(1), folder / "log"))
    return shards, content(folder / "out"), Counter((folder / "log").read_text().split())


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_anywhere_ends_with_the_same_bytes_and_repeats_at_most_one_task(point, whole, tmp_path):
    shards, expected, tasks = whole
    script = textwrap.dedent(JOB).format(kill=POINTS[point])
    given = [sys.executable, "-c", script, shards, str(tmp_path / "out"), str(tmp_path / "log")]
    killed = subprocess.run(given, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    pruned(shards, tmp_path / "out", Counting(Local(1), tmp_path / "log"))

    assert content(tmp_path / "out") == expected
    log = tmp_path / "log"
    again = Counter(log.read_text().split()) - tasks
    assert sum(again.values()) <= 1, again


def test_a_worker_that_is_killed_is_replaced_and_the_bytes_are_the_same(whole, tmp_path):
    shards, expected, _ = whole
    pruned(shards, tmp_path / "out", Deadly(Local(2), tmp_path))
    assert (tmp_path / "killed").exists()
    assert content(tmp_path / "out") == expected


def test_another_selection_and_back_ends_with_everything_that_was_asked_for(whole, tmp_path):
    shards, expected, _ = whole
    for keep in (0.4, 0.2, 0.4):
        pruned(shards, tmp_path / "out", Local(1), keep=keep)
    assert content(tmp_path / "out") == expected
