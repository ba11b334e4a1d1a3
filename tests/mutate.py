"""Put real bugs of the field into the code, one at a time; the tests named for each must notice (`make mutate`).

The first four stand in published code.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[1]
TRAJECTORY, SNAPSHOT = "scores/trajectory.py", "scores/snapshot.py"


@dataclass(frozen=True)
class Bug:
    """In `file`, `old` becomes `new`; every test of `caught_by` must fail. tests: what is run."""

    name: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    tests: tuple[str, ...] = ("tests/scores", "src/secateur/scores")


PROMISE = "test_keeps_its_promises"
EVERY_EPOCH, APART = f"{PROMISE}[score_reads_every_epoch", f"{PROMISE}[score_treats_examples_apart"
INPUT = f"{PROMISE}[score_leaves_its_input_alone"
SKIPPING, RULE_TESTS = "dynamic/skipping.py", ("tests/dynamic", "src/secateur/dynamic")
VALUE, ORDER = "test_gives_the_value_worked_by_hand", "test_orders_the_archetypes"

BUGS = [
    Bug(
        "TDDS: the window never slides",
        TRAJECTORY,
        "for row in rows[window:]:",
        "for row in [rows[0]] * 0:",
        (f"{EVERY_EPOCH}-tdds]", f"{VALUE}[tdds]", f"{EVERY_EPOCH}-dual]"),
    ),
    Bug(
        "AUM: only the last epoch counts",
        TRAJECTORY,
        "return (z_other - z_target).mean(axis=0, dtype=float)",
        "return (z_other - z_target)[-1].astype(float)",
        (f"{EVERY_EPOCH}-aum]", f"{VALUE}[aum]"),
    ),
    Bug(
        "TDDS: scores come sorted, ids are lost",
        TRAJECTORY,
        "        out[tile] = total\n    return out",
        "        out[tile] = total\n    return np.sort(out)",
        (f"{APART}-tdds]", f"{ORDER}[tdds]", f"{VALUE}[tdds]"),
    ),
    Bug(
        "forgetting: never learned counts 0",
        TRAJECTORY,
        '"epochs": float(len(correct))',
        '"epochs": 0.0',
        (f"{ORDER}[forgetting]", "secateur.scores.trajectory.forgetting"),
    ),
    Bug(
        "DUAL: min-max over the data set",
        TRAJECTORY,
        "    return _mean_over_windows(p_target, window, lambda mean, spread: (1 - mean) * spread)",
        "    s = _mean_over_windows(p_target, window, lambda mean, spread: (1 - mean) * spread)\n"
        "    return (s - s.min()) / (s.max() - s.min())",
        (f"{APART}-dual]", f"{VALUE}[dual]", "secateur.scores.trajectory.dual"),
    ),
    Bug(
        "DUAL: the biased deviation",
        TRAJECTORY,
        "((len(p) - window + 1) * np.sqrt(window - 1))",
        "((len(p) - window + 1) * np.sqrt(window))",
        (f"{VALUE}[dual]", "secateur.scores.trajectory.dual"),
    ),
    Bug(
        "AUM: edits the recording",
        TRAJECTORY,
        "return (z_other - z_target).mean(axis=0, dtype=float)",
        "z_other -= z_target\n    return z_other.mean(axis=0, dtype=float)",
        (f"{INPUT}-aum]",),
    ),
    Bug(
        "EL2N: first snapshot only",
        SNAPSHOT,
        "return error_norm.mean(axis=0, dtype=float)",
        "return error_norm[0].astype(float)",
        (f"{EVERY_EPOCH}-el2n]", f"{VALUE}[el2n]"),
    ),
    Bug(
        "EL2N: sign flipped",
        SNAPSHOT,
        "return error_norm.mean(axis=0, dtype=float)",
        "return -error_norm.mean(axis=0, dtype=float)",
        (f"{ORDER}[el2n]", f"{VALUE}[el2n]", "secateur.scores.snapshot.el2n"),
    ),
    Bug(
        "a score without a row",
        SNAPSHOT,
        '@score(source="arXiv:1511.06343")',
        '@score(source="nowhere")\ndef top(p_top: Each) -> Score:\n    """Top."""\n    return p_top.mean(axis=0)\n\n\n'
        '@score(source="arXiv:1511.06343")',
        ("test_every_score_has_a_row",),
    ),
    Bug(
        "the Beta draw loses one to floating point",
        "registry.py",
        "np.floor(float(keep) * examples + 0.5)",
        "np.floor(float(keep) * examples)",
        ("test_fractions_round_half_up_and_never_lose_one_to_floating_point",),
        ("tests/select",),
    ),
    Bug(
        "CCS: the largest strata are served first",
        "select/stratified.py",
        'enumerate(np.argsort(sizes, kind="stable"))',
        'enumerate(np.argsort(-sizes, kind="stable"))',
        ("test_smallest_strata_are_served_first", "test_rare_strata_survive_that_random_would_lose"),
        ("tests/select",),
    ),
    Bug(
        "herding: the farthest in place of the nearest, as in published code",
        "select/geometric.py",
        "pick = int(toward.argmin())",
        "pick = int(np.where(np.isinf(toward), -np.inf, toward).argmax())",
        ("test_every_step_is_the_greedy_minimiser_of_the_distance_between_means", "secateur.select.geometric.herding"),
        ("tests/select", "src/secateur/select"),
    ),
    Bug(
        "CRAIG: one more than the cluster's size, as in published code",
        "select/matching.py",
        "return np.bincount(nearest, minlength=len(ids)).astype(float)",
        "return np.bincount(nearest, minlength=len(ids)).astype(float) + 1",
        ("test_weights_are_cluster_sizes_not_one_more",),
        ("tests/select",),
    ),
    Bug(
        "GLISTER: never looks at the validation loss again, as in published code",
        "select/matching.py",
        "logits -= rate * logit_steps(",
        "logits - rate * logit_steps(",
        ("test_refreshes", "test_is_a_plain_loop_over_written_out_gradients"),
        ("tests/select",),
    ),
    Bug(
        "CAL: keeps those that agree with their neighbours, as in published code",
        "select/diversity.py",
        "return hardest(contrast, keep=int(keep))",
        "return hardest(-contrast, keep=int(keep))",
        ("test_keeps_the_largest_mean_divergence_of_neighbours", "secateur.select.diversity.cal"),
        ("tests/select", "src/secateur/select"),
    ),
    Bug(
        "ties go to the first rows",
        "study/pick.py",
        "return self.draw.permutation(count) if ranks_only else None",
        "return None",
        ("test_a_data_set_sorted_by_class_loses_no_class_to_ties",),
        ("tests/study/test_pick.py",),
    ),
    Bug(
        "a probe that is asked something else keeps what it had",
        "store/probed.py",
        'before.get("asked") != dict(asked)',
        'before.get("asked") is None',
        ("test_a_probe_that_is_asked_something_else_starts_again",),
        ("tests/store/test_probed.py",),
    ),
    Bug(
        "DRoP: sizes in place of densities",
        "select/stratified.py",
        'weight = error * sizes if share == "density" else error',
        "weight = error",
        ("test_quotas_of_uneven_classes_are_those_of_the_oracle",),
        ("tests/select",),
    ),
    Bug(
        "recorder: an example repeated in an epoch overwrites",
        "training/buffers.py",
        "fresh = inside & ~self.seen[at]",
        "fresh = inside",
        ("test_an_example_repeated_in_an_epoch_counts_once_at_first_sight",),
        ("tests/training/test_recorder.py",),
    ),
    Bug(
        "recorder: divergence against the same epoch",
        "training/buffers.py",
        "            self._keep_logits(at, fresh, logits, labels)\n        else:",
        "        else:",
        ("test_every_field_equals_the_plain_loop", "test_labels_and_mean_logits_are_recorded"),
        ("tests/training/test_recorder.py",),
    ),
    Bug(
        "loop: the checkpoint forgets the optimiser",
        "training/checkpoint.py",
        'optimizer.load_state_dict({"state": states,',
        'optimizer.load_state_dict({"state": {},',
        ("test_a_run_stopped_after_an_epoch_ends_with_the_same_weights_to_the_bit",),
        ("tests/training/test_loop.py",),
    ),
    Bug(
        "distillation: no factor for the temperature",
        "training/distill.py",
        ".sum(1) * temperature**2",
        ".sum(1)",
        ("test_divergence_equals_the_plain_loop", "test_the_gradient_does_not_shrink_with_the_temperature"),
        ("tests/training/test_distill.py",),
    ),
    Bug(
        "report: angle brackets reach the script",
        "report/page.py",
        '.replace("<", "\\\\u003c")',
        "",
        ("test_json_inside_a_script_cannot_close_it_and_reads_back",),
        ("tests/report",),
    ),
    Bug(
        "InfoBatch: weights stay where stop * epochs is no whole number (published)",
        SKIPPING,
        "progress.done < self.stop and not progress.last",
        "progress.done != self.stop and not progress.last",
        ("test_from_stop_on_everything_counts_once",),
        RULE_TESTS,
    ),
    Bug(
        "InfoBatch: losses at the mean count as low (published)",
        SKIPPING,
        "heard.loss < np.nanmean",
        "heard.loss <= np.nanmean",
        ("test_equal_losses_are_not_below_their_mean",),
        RULE_TESTS,
    ),
    Bug(
        "InfoBatch: what stays is not weighed up",
        SKIPPING,
        "weights[low] = 1 / share",
        "weights[low] = 1",
        ("rule_counts_everyone_once]", "test_those_not_below_the_mean"),
        RULE_TESTS,
    ),
    Bug(
        "KAKURENBO: confidence over the batch (published)",
        "training/sampling.py",
        "logits.detach().softmax(dim=1)",
        "logits.detach().softmax(dim=0)",
        ("test_what_a_sampler_wants_looked_at",),
        ("tests/training/test_loop.py",),
    ),
    Bug(
        "KAKURENBO: nobody moves back",
        SKIPPING,
        "sure = heard.correct[low] & ",
        "sure = heard.correct[low] | ",
        ("test_of_the_lowest_losses_those_wrong_or_unsure_move_back",),
        RULE_TESTS,
    ),
    Bug(
        "a sampler plans anew whenever it is asked (published)",
        "dynamic/sampler.py",
        "if self._plan is None or epoch != self._epoch:",
        "if True:",
        ("test_a_state_inside_an_epoch",),
        RULE_TESTS,
    ),
    Bug(
        "a sampler that goes on forgets what its rule noted",
        "dynamic/sampler.py",
        "self._heard = replace(self._heard, memory=memory, ",
        "self._heard = replace(self._heard, ",
        ("test_gone_on_with_it_plans_what_it_would_have_planned",),
        RULE_TESTS,
    ),
    Bug(
        "swap: never right counts as never forgotten",
        "dynamic/parts.py",
        'np.where(noted["ever"], noted["forgotten"], noted["age"])',
        'noted["forgotten"]',
        ("test_never_right_counts_as_often_forgotten",),
        RULE_TESTS,
    ),
]


def failures(folder: Path, tests: tuple[str, ...]) -> set[str]:
    """The tests that fail in a copy of the project, without the last part of their parameters where that is longer."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-rfE", "--tb=no"]
    command += ["--doctest-modules", "-m", "not slow", *tests]
    environment = {"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    return {m.group(1) for m in re.finditer(r"^(?:FAILED|ERROR) \S+?::(\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE)}


def import_contract(folder: Path) -> bool:
    """Is a score that imports torch refused?"""
    file = folder / "src/secateur" / SNAPSHOT
    file.write_text("import torch\n" + file.read_text())
    lint = Path(sys.executable).with_name("lint-imports")
    environment = {"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([lint, "--no-cache"], cwd=folder, capture_output=True, text=True, env=environment)
    return "Scores, selectors and rules need numpy alone BROKEN" in done.stdout


def fresh_copy(folder: Path) -> Path:
    """The project's code and tests, to be spoiled."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("src", "tests"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml", "README.md"):
        shutil.copy(REPO / name, folder)
    return folder


def main() -> None:
    missed = 0
    with tempfile.TemporaryDirectory() as workplace:
        folder = Path(workplace) / "mutant"
        for bug in BUGS:
            path = fresh_copy(folder) / "src/secateur" / bug.file
            text = path.read_text()
            assert text.count(bug.old) >= 1, f"{bug.name}: {bug.old!r} is not in {bug.file}"
            path.write_text(text.replace(bug.old, bug.new, 1))
            failed = failures(folder, bug.tests)
            silent = [t for t in bug.caught_by if not any(t in f for f in failed)]
            missed += bool(silent)
            print(
                f"{'MISSED' if silent else 'caught'}  {bug.name}" + (f": {', '.join(silent)} passed" if silent else "")
            )
        caught = import_contract(fresh_copy(folder))
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}  a score imports torch")
    sys.exit(f"{missed} bugs went unnoticed" if missed else 0)


if __name__ == "__main__":
    main()
