"""From stored cells to numbers: images, pixels, vectors, labels, and one pass over a split."""
