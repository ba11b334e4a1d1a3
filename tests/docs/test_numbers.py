"""Every measured figure in README and docs/ has a table under benchmarks/, and the digits agree: see CONTRIBUTING.md."""

import json
import re

import pytest

from secateur.methods import METHODS
from tests.docs.numbers import ROOT, blocks, faults, numbers

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_figure_stands_in_the_table_it_links_to(page):
    assert faults(page) == []
