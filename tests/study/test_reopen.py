"""What run.json says of the data is followed to this machine alone, and only as far as it is still true."""

import pytest

import secateur.study.reopen as module
from secateur.data.source import open_data
from secateur.errors import SecateurError, WrongData
from secateur.store.files import write_json
from secateur.study.out import Out
from secateur.study.reopen import reopen


def out_of(folder, **changes):
    """An OUT folder that says so of its data."""
    data = {"name": "digits", "form": "digits", "fingerprint": "x", "examples": 10, "reading": {}} | changes
    folder.mkdir(exist_ok=True)
    write_json(folder / "run.json", {"data": data, "stages": {}, "versions": {"secateur": "1"}})
    return Out(folder)


@pytest.fixture
def _nothing_is_opened(monkeypatch):
    def opened(*given, **how):
        raise AssertionError(f"opened {given}")

    monkeypatch.setattr(module, "open_data", opened)


@pytest.mark.usefixtures("_nothing_is_opened")
@pytest.mark.parametrize("form", ["hub", "parquet", "folder", "saved"])
@pytest.mark.parametrize(
    "name",
    ["somebody/evil", "imdb", "hf://datasets/x", "s3://bucket/x", "https://x/y.parquet", "/dev/zero", "/etc/passwd",
     "/**/*.parquet", "/*/*.parquet", "**", "*", "", "\0", "a" * 5000, "~nobody-here", "/proc/self/fd/*"],
)  # fmt: skip
def test_a_name_from_run_json_is_never_looked_up_elsewhere(name, form, tmp_path):
    with pytest.raises(WrongData, match="--data"):
        reopen(out_of(tmp_path / "out", name=name, form=form))


@pytest.mark.usefixtures("_nothing_is_opened")
def test_a_folder_of_far_more_files_than_the_run_had_is_not_read_through(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_FILES", 3)
    for k in range(5):
        (tmp_path / f"{k}.png").touch()
    with pytest.raises(WrongData, match="holds more than 3 files, for a run of 10 examples; name the data with --data"):
        reopen(out_of(tmp_path / "out", name=str(tmp_path), form="folder"))


@pytest.mark.parametrize(
    "changes",
    [{"name": 3}, {"name": None}, {"fingerprint": []}, {"examples": -1}, {"examples": "9"}, {"reading": []},
     {"reading": {"size": 10**9}}, {"reading": {"size": "8"}}, {"reading": {"on_bad": "x"}}, {"reading": {"test": 1}}],
)  # fmt: skip
def test_what_is_no_description_of_data_is_one_line(changes, tmp_path):
    with pytest.raises(SecateurError, match=r"run.json: .*data\.[a-z_.]+: "):
        reopen(out_of(tmp_path / "out", **changes))


def test_where_copies_go_and_what_memory_they_take_is_never_read_from_a_file(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(module, "open_data", lambda data, **how: given.append(how) or open_data("digits"))
    with pytest.raises(WrongData, match="has changed since|--data"):
        reopen(out_of(tmp_path / "out", reading={"cache": "/root", "memory": 1, "label": "digit"}))
    assert given == [{"label": "digit", "on_bad": "stop", "on_rare": "stop"}]


def test_unchanged_data_are_found_again_and_those_that_the_user_names_are_checked_too(tmp_path):
    fingerprint = open_data("digits").fingerprint
    assert reopen(out_of(tmp_path / "out", fingerprint=fingerprint)).name == "digits"
    gone = out_of(tmp_path / "gone", name="somebody/gone", form="hub", fingerprint=fingerprint)
    assert reopen(gone, "digits").fingerprint == fingerprint
    with pytest.raises(SecateurError, match="is other data"):
        reopen(out_of(tmp_path / "other", fingerprint="0" * 32), "digits")
