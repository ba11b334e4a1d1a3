"""Made-up examples for selectors that read the last layer."""

import numpy as np


def scene(examples, *, classes=3, dims=4, seed=0):
    """features, errors and p_final of made-up examples."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=examples)
    logits = rng.normal(size=(examples, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return rng.normal(size=(examples, dims)), p - np.eye(classes)[labels], p


def written_out(features, errors):
    """The gradient of every example as one long vector (examples, classes * (dims + 1))."""
    return np.array([np.outer(e, np.append(h, 1.0)).ravel() for h, e in zip(features, errors, strict=True)])
