"""What becomes of what is printed: pipes that close, full devices, terminals that know ASCII alone."""

import json
import os
import subprocess
import sys

SECATEUR = f"{sys.executable} -m secateur"


def shell(command, **environment):
    environ = {n: v for n, v in os.environ.items() if n not in ("PYTHONIOENCODING", "LC_ALL", "LANG")}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, env={**environ, **environment}, timeout=120, errors="replace"
    )


def test_a_reader_that_has_enough_is_no_error():
    done = shell(f"{SECATEUR} methods | head -1; echo ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "methods"
    assert done.stdout.splitlines()[-1] in ("0", "141")


def test_output_onto_a_full_device_is_one_line():
    done = shell(f"{SECATEUR} methods > /dev/full")
    assert done.stderr == "error: the disk is full; free some space, then run the same command again\n"
    assert done.returncode == 2


def test_a_terminal_of_ascii_and_one_that_is_closed():
    done = shell(f"{SECATEUR} methods --json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    done = shell(f"{SECATEUR} score $'/tmp/caf\\xc3\\xa9 \\xe9' >&-", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.startswith("error: out: expected a name that is valid Unicode, got /tmp/caf")


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, capsys):
    import errno
    from pathlib import Path

    from typer.testing import CliRunner

    from secateur.cli import app

    def read_only(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    done = CliRunner().invoke(app, ["record", "digits", "--out", "/read/only/out", "--json"])
    assert done.exit_code == 2, done.output
    said = capsys.readouterr().err or done.output
    assert "/read/only/out cannot be made ([Errno 30] Read-only file system" in said
