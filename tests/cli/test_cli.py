"""The command line: parse, call, print; frozen, so that an option changes only on purpose."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from secateur.cli import app
from secateur.cli.options import parse_keep, parse_memory
from secateur.dynamic import RULES
from secateur.errors import SecateurError

NAMES = """
random el2n forgetting aum entropy dyn-unc tdds dual ccs drop reid esps grand grand-last curvature deepfool puma dlc
super-resolution memorization least-confidence margin prototype ssp moderate rmd density herding k-center
facility-location graph-cut saturated-coverage contextual-diversity cal d2 infomax craig gradmatch glister
"""
METHODS = NAMES.split()
CONDENSERS = ["dm", "dc", "dsa", "cafe", "idm"]
FAST = ["--threads", "1"]
COMMON = "--device --force --json --out --seed --threads"
READING = "--cache --input --label --memory --on-bad --on-rare --size --split --test"
TRAINING = "--adversary --budget --distill --epochs --net --recipe"
RECORDING = "--record-epochs --record-recipe"
SCALE = "--force --json --out --seed"
STORE = "--take-over --unsafe-single-writer"
LIMITS = "--exclude --min-per-class --must-keep"
SHARDS = (
    f"--border --clusters --embedding --engine --id --on-bad --sample --unit-rows --workers --write {STORE} {SCALE}"
)
DEDUP = "--dedup-prefer --dedup-to --threshold"
FILTER = "--score --score-max --score-min --score-quantiles --score-top"
OPTIONS = {
    "prune": f"{COMMON} {READING} {TRAINING} {RECORDING} {LIMITS} --eval-pass --features --keep --method --train",
    "record": f"{COMMON} {READING} --epochs --eval-pass --fields --net --recipe",
    "score": "--json --keep --method",
    "select": f"{LIMITS} --json --keep --method --seed",
    "train": f"{COMMON} {READING} {TRAINING} --difficulty --objective --rule --start --subset --teacher --teacher-net "
    "--unlabelled",
    "slim": f"{COMMON} {READING} --flops --rank --sample",
    "condense": f"{COMMON} {READING} --augment --batch --classify --eval-augment --eval-epochs --evaluate --every "
    "--init --method --compile --net --nets --per-class --rate --recording --repeats --schedule --sets "
    "--soft --statistics --steps --tiles",
    "mine": f"{COMMON} {READING} --at-least --condense-with --epochs --model --net --per-class --recipe --top",
    "compare": f"{COMMON} {READING} {TRAINING} {RECORDING} {LIMITS} --features --keep --methods --seeds "
    "--repeat-recording --rules --teachers --validate",
    "plan": f"{COMMON} {READING} --budget --epochs --kernel --keep --method --net --new-head --reach "
    f"--recipe --start --subset {RECORDING}",
    "scale embed": f"{STORE} --batch --by --cache --device --force --id --input --json --label --memory --net --on-bad "
    "--out --rows --size --split --text",
    "scale cluster": SHARDS,
    "scale filter": f"{SHARDS} {FILTER}",
    "scale dedup": f"{SHARDS} {DEDUP}",
    "scale density": f"{SHARDS} --floor --keep --prefer --temperature",
    "scale prototypes": f"{SHARDS} --floor --keep --prefer",
    "scale select": f"{STORE} --by --engine --floor --force --json --keep --out --prefer --temperature "
    "--workers --write",
    "scale prune": f"{SHARDS} {DEDUP} {FILTER} --by --floor --keep --no-dedup --prefer --temperature",
    "scale instructions": f"{SCALE} {STORE} --attention --cluster-by --clusters --components --embedding --epochs "
    "--features --id --indicators --keep --labels --lr --pca --quality --subsets --text-embedding --write",
    "report": "--data",
    "methods": "--json",
    "cite": "",
}


LOADED = "print([m for m in ('torch', 'datasets', 'numpy', 'zarr') if m in sys.modules])"


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def shell(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "secateur", *map(str, arguments)], capture_output=True, text=True, **options
    )


def commands():
    """Every command by the words that call it."""
    import typer

    def inside(group, above=""):
        for name, command in group.commands.items():
            yield from inside(command, f"{above}{name} ") if hasattr(command, "commands") else [(above + name, command)]

    return dict(inside(typer.main.get_command(app)))


def test_the_options_are_those_that_were_agreed():
    assert set(commands()) == set(OPTIONS)
    for name, command in commands().items():
        found = {o for p in command.params for o in p.opts if o.startswith("--")}
        assert found == set(OPTIONS[name].split()), name


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_and_option_says_what_it_is(command):
    parsed = commands()[command]
    assert parsed.help
    for parameter in parsed.params:
        assert getattr(parameter, "help", None) or parameter.param_type_name == "argument", parameter.name


def test_help_loads_nothing_heavy():
    """What keeps `secateur --help` under half a second."""
    script = f"import sys; from secateur.cli import app; {LOADED}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_the_package_loads_nothing_heavy():
    script = f"import sys, secateur; {LOADED}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_resolves():
    import secateur

    for name in secateur.__all__:
        assert getattr(secateur, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'prun'"):
        _ = secateur.prun


@pytest.mark.parametrize(("text", "value"), [("0.3", 0.3), ("1.0", 1.0), ("1", 1), ("500", 500), ("-2", -2)])
def test_a_point_makes_a_fraction(text, value):
    assert parse_keep(text) == value
    assert type(parse_keep(text)) is type(value)


def test_sizes_are_read_or_refused():
    assert parse_memory("1.5k") == 1536
    with pytest.raises(SecateurError, match="memory: expected a size such as 8G or 512M, got 'lots'"):
        parse_memory("lots")


def test_scoring_and_selecting_print_for_people_and_machines(pruned, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "out")
    assert "forgetting" in run("score", out, "--method", "forgetting,el2n").stdout
    told = json.loads(run("select", out, "--method", "el2n", "--keep", "20", "--json").stdout)
    assert told["subset"]["kept"] == 20
    assert "kept  20 of 512" in run("select", out, "--keep", "20").stdout


def test_pruning_says_once_when_it_pays(tmp_path):
    how = ("--keep", "0.3", "--method", "random", "--net", "mlp:0.1", "--out", tmp_path / "out")
    done = run("prune", "digits", *how, *FAST)
    verdict = json.loads((tmp_path / "out" / "bill.json").read_text())["bills"][0]["verdict"]
    assert done.output.count(verdict) == 1
    assert re.search(rf"^bill +{re.escape(verdict)}$", done.stdout, re.MULTILINE)


def test_selecting_says_that_kept_rows_and_report_are_of_another_subset(pruned, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "out")
    assert "still of another" not in run("select", out, "--keep", "0.3").output
    assert f"{out / 'kept'} and report.html still belong to another subset" in run("select", out, "--keep", "20").output
    run("report", out)
    page = (out / "report.html").read_text()
    assert 'id="load"' not in page  # kept/ does not hold what the page shows
    assert "kept/ holds another subset" in page
    assert "still of another" not in run("select", out, "--keep", "0.3").output
    run("report", out)
    page = (out / "report.html").read_text()
    assert 'id="load"' in page
    assert "kept/ holds another subset" not in page


def test_the_report_can_be_written_again(pruned, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "out")
    (out / "report.html").unlink()
    done = run("report", out)
    assert "no pictures: data: " in done.stderr  # arrays cannot be found again by name
    assert (out / "report.html").stat().st_size > 500_000


def test_methods_are_listed_for_machines():
    rows = json.loads(run("methods", "--json").stdout)
    assert {"name", "kind", "needs", "source", "summary"} <= set(rows[0])
    names = {r["name"] for r in rows if r["kind"] == "method"}
    assert names == set(METHODS)
    assert {r["name"] for r in rows if r["kind"] == "rule"} == set(RULES)
    assert {r["name"] for r in rows if r["kind"] == "condenser"} == set(CONDENSERS)
    assert "beta" in run("methods").stdout


def test_what_was_used_can_be_cited():
    text = run("cite", "dual", "random", "distillation").stdout
    assert text.count("@inproceedings") == 2
    assert "random: nothing to cite" in text
    assert all("title" in run("cite", rule).stdout for rule in RULES if rule != "random")
    assert "arXiv:2502.06905" in text


@pytest.mark.parametrize("name", [*METHODS[1:], *CONDENSERS])  # random has none
def test_every_method_has_its_citation(name):
    assert run("cite", name).stdout.startswith("@")


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["prune", "digits", "--keep", "0"], "error: keep: expected a count from 1 to 1437"),
            (
                ["prune", "digits", "--keep", "half"],
                "error: keep: expected a fraction such as 0.3 or a count such as 500",
            ),
            (["prune", "digits", "--keep", "0.3", "--method", "duall"], "did you mean dual"),
            (["prune", "./nowhere", "--keep", "0.3"], "error: data: no file or folder ./nowhere"),
            (["score", "./nowhere"], "error: "),
            (["cite", "nobody"], "error: cite: expected one of"),
        ],
    )
    def test_errors_are_one_line_and_exit_code_two(self, arguments, message, tmp_path):
        done = shell(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr
        news = ("reading", "data: the bundled", "ignored: ")
        errors = [line for line in done.stderr.splitlines() if not line.startswith(news)]
        assert len(errors) == 1
        assert "Traceback" not in done.stderr

    def test_a_missing_option_is_exit_code_two(self):
        assert run("prune", "digits", code=2)


@pytest.mark.slow
def test_a_whole_pruning_from_the_shell(tmp_path):
    """What a new user types, on the bundled data, with nothing but the defaults."""
    done = shell("prune", "digits", "--keep", "0.3", "--train", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["subset"]["kept"] == 431
    assert told["student"]["accuracy"] > 0.9


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_next_command_does(tmp_path):
    import os
    import signal
    import time

    arguments = ["prune", "digits", "--keep", "0.3", "--record-epochs", "8", *FAST]
    log = tmp_path / "secateur-out" / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "secateur", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` has it ignored
    )
    while not (log.exists() and log.read_text().count("begin") >= 3):
        time.sleep(0.05)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in errors
    done = shell(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in log.read_text().splitlines()]
    begun = [e["epoch"] for e in events if e["event"] == "begin"]
    assert sorted(set(begun)) == list(range(8))
    assert len(begun) <= 9  # at most one epoch twice


def test_a_rule_trains_and_says_how_often_it_visited(tmp_path):
    options = ("--net", "resnet9:0.25", "--epochs", "3", "--threads", "1", "--out", tmp_path / "out")
    done = run("train", "digits", "--rule", "random:keep=0.4", *options)
    assert "steps, 1725 visits by random:keep=0.4 among 1437 of 1437 examples" in done.stdout
    told = json.loads(run("train", "digits", "--rule", "random:keep=0.4", *options, "--json").stdout)
    assert told["rule"] == "random:keep=0.4"
    assert (told["kept"], told["examples"]) == (1437, 3 * 575)
    wrong = run("train", "digits", "--rule", "infobach", *options, code=2)
    assert "rule: expected one of" in wrong.stderr
    wrong = run("train", "digits", "--rule", "infobatch:drop=2", *options, code=2)
    assert "infobatch: drop: expected a number in [0, 0.999], got '2'" in wrong.stderr
    wrong = run("prune", "digits", "--keep", "0.5", "--method", "infobatch", code=2)
    assert "method: infobatch is a rule of pruning while training: secateur train --rule" in wrong.stderr


def test_plan_tells_how_fine_tuning_would_go(pruned):
    asked = ["--start", pruned, "--reach", 0.5, "--kernel", "last-layer", "--net", "resnet9:0.25", "--epochs", 4, *FAST]
    told = run("plan", "digits", *asked, "--new-head").stdout
    assert re.search(
        r"\nfine-tuning +(does not reach 0.5 in 100 steps|\d+ of 100 steps).*; with the last-layer kernel\n", told
    )
    found = json.loads(run("plan", "digits", *asked, "--new-head", "--json").stdout)
    assert found["forecast"]["kernel"] == "last-layer"
    assert found["forecast"]["horizon"] == 100
