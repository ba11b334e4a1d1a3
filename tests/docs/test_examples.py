"""What the README and the pages show in Python runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.registry import ENTRIES

ROOT = Path(__file__).parents[2]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def somebodys_loop(few_digits):
    """The names that an example of a loop of one's own takes for granted."""
    images, labels = (torch.from_numpy(np.asarray(a)) for a in few_digits[0])
    torch_rows = torch.utils.data.TensorDataset(torch.arange(512), images[:, None].float(), labels)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    assert sc.scores.dual  # imported late, they would be taken for the examples'
    assert sc.select.random
    known = set(ENTRIES)
    yield {
        "sc": sc,
        "np": np,
        "F": torch.nn.functional,
        "train_set": torch_rows,
        "loader": torch.utils.data.DataLoader(torch_rows, batch_size=64),
        "epochs": 10,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=1e-3),
    }
    for name in set(ENTRIES) - known:  # what an example registered
        del ENTRIES[name]


@pytest.mark.parametrize("page", ["README.md", "docs/your-own.md"])
def test_examples_in_python_run_and_leave_a_subset(page, somebodys_loop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks(page)
    assert found
    for block in found:
        exec(compile(block, page, "exec"), somebodys_loop)
    assert len(somebodys_loop["subset"]) == round(0.3 * 512)


def test_the_theory_of_distillation_gives_the_errors_of_its_table():
    """The numbers were worked out apart from this page, from the same model with 300 draws."""
    page, names = (ROOT / "docs/distillation.md").read_text(encoding="utf-8"), {}
    (block,) = blocks("docs/distillation.md")
    exec(compile(block, "docs/distillation.md", "exec"), names)
    errors = names["errors"]
    known = {
        (0.1, 0.5): 4.14,
        (0.1, 1.0): 2.67,
        (0.25, 0.5): 3.24,
        (0.25, 1.0): 1.91,
        (0.5, 0.5): 2.57,
        (0.5, 1.0): 1.29,
    }
    known |= {(1.0, 0.0): 6.31, (1.0, 0.5): 2.25, (1.0, 1.0): 0.87}
    for at, value in known.items():
        assert errors[at] == pytest.approx(value, rel=0.08), at
    table = re.findall(r"^\| [a-z ]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    shown = [float(v) for row in table for v in row]
    np.testing.assert_allclose(shown, list(errors.values()), rtol=0.08, atol=0.05)
