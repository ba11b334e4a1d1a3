"""Which split and class each file below a folder belongs to, and which files are ignored. The rules are in `rules`."""
