"""Edited OUT folders at length: every command that reads one ends in success or in a sentence of our own."""

from pathlib import Path

import pytest

import secateur as sc
from secateur.errors import SecateurError
from tests import edited
from tests.conftest import SMALL

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(8))
def test_commands_that_need_no_data(pruned, tmp_path, our_own_errors, seed):
    for file, what, content in edited.cases(pruned, 50, seed=100 + seed):
        for command in ("report", "score", "select"):
            folder = edited.put(pruned, tmp_path / "out", file, content)
            _tried(edited.readers(folder)[command], f"{command} with {file.relative_to(pruned)} {what}")


@pytest.mark.parametrize("seed", range(4))
def test_commands_that_train(pruned, few_digits, tmp_path, our_own_errors, seed):
    train, test = few_digits
    for file, what, content in edited.cases(pruned, 12, seed=200 + seed):
        out = edited.put(pruned, tmp_path / "out", file, content)
        name = f"{file.relative_to(pruned)} {what}"
        _tried(lambda: sc.prune(train, test=test, keep=0.3, train=True, out=out, **SMALL), f"prune with {name}")  # noqa: B023
        out, small = edited.put(pruned, tmp_path / "out", file, content), SMALL | {"epochs": 1}
        small.pop("record_epochs")
        options = small | {"out": tmp_path / "other", "force": True, "teacher": out, "subset": out, "test": test}
        _tried(lambda: sc.train(train, **options), f"train with {name}")  # noqa: B023


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9, 0.999])
def test_a_checkpoint_that_is_damaged_is_named(pruned, few_digits, tmp_path, cut):
    """Stopped after an epoch, then its state is spoilt."""
    from secateur.training import checkpoint

    train, test = few_digits
    out, saved = tmp_path / "out", []
    original = checkpoint.save

    def save_and_stop(path, *args):
        original(path, *args)
        saved.append(path)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            sc.record(train, out=out, test=test, net="resnet9:0.25", epochs=4, quiet=True, threads=1)
    content = Path(saved[0]).read_bytes()
    Path(saved[0]).write_bytes(content[: int(cut * len(content))])
    with pytest.raises(SecateurError, match=r"record.safetensors: .*damaged .*delete it to start this stage again"):
        sc.record(train, out=out, test=test, net="resnet9:0.25", epochs=4, quiet=True, threads=1)


def _tried(call, what):
    said = ""
    try:
        call()
    except SecateurError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(what) from error
    assert "(None)" not in said, what
