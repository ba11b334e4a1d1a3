"""Decode stored cells: images, pixels, vectors and labels, in one pass over a split."""
