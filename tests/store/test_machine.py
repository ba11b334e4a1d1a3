"""What the machine refuses while files are written or read: one line with the file and the way out, and no damage."""

import errno
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from secateur.errors import SecateurError, StoreError, described, refused

FULL = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np, torch
    from secateur.errors import SecateurError
    from secateur.store.files import append_line, replacing, write_json
    from secateur.store.recording import RecordingWriter
    from secateur.store.tables import Scores
    from secateur.condensation.synthetic import Synthetic
    from secateur.training import checkpoint
    from secateur.training.buffers import Buffers
    from secateur.training.nets import save_net

    out = Path(sys.argv[1])
    net = torch.nn.Linear(300, 300)
    about = {"fields": ("labels",), "classes": 2, "fingerprint": None, "provenance": {}}
    zarr = RecordingWriter(out / "r.zarr", examples=9000, **about)
    zarr.create()
    long = np.random.default_rng(0).integers(0, 1 << 60, 9000)

    def array():
        with replacing(out / "a.npy") as beside, beside.open("wb") as file:
            np.save(file, np.zeros(9000))

    jobs = {
        "a net": lambda: save_net(net, out / "m.safetensors", spec="x", shape=(300,), classes=300),
        "a checkpoint": lambda: checkpoint.save(out / "c.safetensors", net, [], {}, {}),
        "what is carried over": lambda: Buffers(9000, ["loss"], 2, torch.device("cpu")).save(out / "b.safetensors"),
        "a condensed set": lambda: Synthetic(
            torch.zeros(30, 3, 32, 32), torch.zeros(30, dtype=torch.int64), torch.zeros(3), torch.ones(3)
        ).save(out / "s.safetensors"),
        "scores": lambda: Scores(long, {"x": long / 7}, {}).save(out / "scores.parquet"),
        "json": lambda: write_json(out / "x.json", ["x" * 60_000]),
        "a log": lambda: append_line(out / "log.jsonl", {"x": "x" * 60_000}),
        "labels": lambda: zarr.write_tables({"labels": long}),
        "an array": array,
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for name, job in jobs.items():
        try:
            job()
            print(name, "was written")
        except SecateurError as error:
            print(name, "->", error)
    print(sorted(path.name for path in out.iterdir()))
"""


def test_a_file_that_may_not_grow_is_one_line_whatever_library_writes_it(tmp_path):
    """The size limit of a process stands in for a full disk."""
    code = textwrap.dedent(FULL)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    *lines, left = done.stdout.splitlines()
    assert len(lines) == 9, done.stderr
    for line in lines:
        assert "-> writing" in line, line
        assert "file size limit" in line or "the disk is full" in line, line
    assert left == "['log.jsonl', 'r.zarr']"  # nothing half written


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; free some space, then run"),
        (OSError(errno.EROFS, "Read-only file system", "o"), "o: the file system is read-only; name a folder"),
        (
            PermissionError(errno.EACCES, "Permission denied", "o"),
            r"o: no permission \(Permission denied\); change the permissions",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files; raise the limit with `ulimit -n`"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "o"), "o: a file is in the way of a folder"),
        (OSError(errno.EIO, None), r"input/output error; check the disk"),
        (OSError(), "OSError"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError('IoError(Os { code: 30, kind: ReadOnlyFilesystem, message: "x" })'), "read-only"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("Could not determine home directory."), "~ has no known home folder; set HOME"),
        (UnicodeEncodeError("utf-8", "a\udce9", 1, 2, "surrogates not allowed"), "a name is not valid Unicode"),
    ],
)
def test_the_system_s_errors_have_a_way_out(error, said):
    with pytest.raises(SecateurError, match=said) as caught:
        raise described(error)
    assert "None" not in str(caught.value)


def test_a_bug_of_ours_is_not_taken_for_the_machine_s():
    assert described(TypeError("x")) is described(ZeroDivisionError()) is described(RuntimeError("shape")) is None


def test_damage_is_told_from_what_the_machine_refused():
    assert refused(ValueError("bad magic"), "reading") is refused(FileNotFoundError(2, "No such file"), "x") is None
    assert "no permission" in str(refused(PermissionError(13, "Permission denied", "a"), "reading a"))


def test_a_full_disk_under_a_report_and_under_a_log(tmp_path, monkeypatch):
    from secateur.store.files import append_line, replacing

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("secateur.store.files._to_disk", full)
    said = r"writing .*report.html: the disk is full"
    with pytest.raises(StoreError, match=said), replacing(tmp_path / "report.html") as beside:
        beside.write_text("x")
    assert not list(tmp_path.iterdir())
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"writing .*log.jsonl: "):
        append_line(tmp_path / "log.jsonl", {"a": 1})


def test_an_epoch_that_no_disk_took_names_the_file_system(tmp_path, monkeypatch):
    from secateur.store.recording import RecordingWriter

    store = RecordingWriter(
        tmp_path / "r.zarr", examples=4, fields=("loss",), classes=None, fingerprint=None, provenance={}
    )
    store.create()
    monkeypatch.setattr("zarr.Array.resize", lambda *a: (_ for _ in ()).throw(OSError(errno.EROFS, None)))
    with pytest.raises(StoreError, match=r"epoch 0 could not be written .the file system is read-only.*; nothing was"):
        store.append({"loss": np.zeros(4, np.float32)})


def test_a_checkpoint_of_another_net_is_named(tmp_path):
    import torch

    from secateur.training import checkpoint

    small, large = torch.nn.Linear(2, 2), torch.nn.Linear(3, 3)
    where = {"epoch": 1, "step": 2, "examples": 3, "seconds": 0.5}
    checkpoint.save(tmp_path / "c.safetensors", small, [], where, {})
    assert checkpoint.load(tmp_path / "c.safetensors", small, [], {}) == where
    with pytest.raises(StoreError, match=r"c.safetensors: checkpoint damaged .*delete it to start this stage again"):
        checkpoint.load(tmp_path / "c.safetensors", large, [], {})
    checkpoint.save(tmp_path / "c.safetensors", small, [], where | {"epoch": -1}, {})
    with pytest.raises(StoreError, match="epoch: expected greater than or equal to 0, got -1"):
        checkpoint.load(tmp_path / "c.safetensors", small, [], {})


def test_momentum_of_another_shape_is_noticed_before_a_step_is_taken(tmp_path):
    import torch

    from secateur.training import checkpoint

    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.state[net.weight]["momentum_buffer"] = torch.zeros(3, 3)
    where = {"epoch": 1, "step": 2, "examples": 3, "seconds": 0.5}
    checkpoint.save(tmp_path / "c.safetensors", net, [optimizer], where, {})
    with pytest.raises(StoreError, match=r"momentum_buffer has shape \(3, 3\), not \(2, 2\)"):
        checkpoint.load(tmp_path / "c.safetensors", net, [optimizer], {})
