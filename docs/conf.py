"""Sphinx settings."""

project = "Secateur"
author = "The Secateur authors"
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # the tables of benchmarks/ lie beside these pages in the repository
