"""Writing data sets: what was kept, mined or condensed."""
