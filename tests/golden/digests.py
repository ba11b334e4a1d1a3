"""Digests of arrays and of model files, and what the arithmetic of a machine depends on."""

import hashlib
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Digests = dict[str, str]
PACKAGES = ("torch", "numpy", "scipy", "faiss-cpu", "scikit-learn", "pillow")


def digest(*arrays: Any) -> str:
    """SHA-256 of the type, shape and bytes of arrays; lists of text go in as JSON would not change them."""
    held = hashlib.sha256()
    for given in arrays:
        array = np.asarray(given)
        if array.dtype.kind in "OU":
            held.update(repr([str(x) for x in array.ravel()]).encode())
        else:
            array = np.ascontiguousarray(array)
            held.update(array.tobytes())
        held.update(f"{array.dtype.kind}{array.dtype.itemsize}{array.shape}".encode())
    return held.hexdigest()


def tensors(path: Path) -> str:
    """SHA-256 of the tensors of a safetensors file, in the order of their names; its metadata is left out."""
    from safetensors.numpy import load_file

    held = hashlib.sha256()
    for name, array in sorted(load_file(path).items()):
        held.update(f"{name}:{digest(array)};".encode())
    return held.hexdigest()


def columns(path: Path, names: Iterable[str] | None = None) -> Digests:
    """SHA-256 of each column of a parquet file, or folder of files, in the order of its rows."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    if names is None:
        names = table.column_names
    return {name: digest(table[name].to_numpy(zero_copy_only=False)) for name in names}


def signature() -> dict[str, str]:
    """What equal digests may be expected of: the processor, the versions of what computes, and one thread."""
    import torch

    cpu = {"model name": platform.processor(), "flags": ""}
    info = Path("/proc/cpuinfo")
    for line in reversed(info.read_text().splitlines() if info.exists() else []):
        name, _, value = line.partition(":")
        if name.strip() in cpu:
            cpu[name.strip()] = value.strip()
    flags = hashlib.sha256(" ".join(sorted(cpu["flags"].split())).encode()).hexdigest()[:16]
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": cpu["model name"],
        "flags": flags,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": "1",
        **{name: version(name) for name in PACKAGES},
    }
