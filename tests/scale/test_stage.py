"""What a task says of itself."""

import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import pytest

from secateur.scale.stage import most_held


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="without /proc what started it counts too")
def test_the_memory_of_a_worker_is_its_own_and_not_what_started_it():
    code = "from secateur.scale.stage import most_held; held = bytearray(b'1') * 100_000_000; print(most_held())"
    here = np.ones(100_000_000)  # 800 MB
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 100_000_000 < child < here.nbytes < most_held()


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_without_proc_it_is_what_the_system_tells_in_the_units_of_that_system(platform, unit, monkeypatch):
    def unreadable(self):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", unreadable)
    monkeypatch.setattr(sys, "platform", platform)
    before, told, after = (
        f() for f in (lambda: getrusage(RUSAGE_SELF).ru_maxrss, most_held, lambda: getrusage(RUSAGE_SELF).ru_maxrss)
    )
    assert before * unit <= told <= after * unit
