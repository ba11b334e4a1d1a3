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
