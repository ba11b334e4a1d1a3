"""`python -m tests.golden --write FILE` runs everything; `--compare FILE` says what differs from it."""

import argparse
import os
import sys
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is imported

from tests.golden.held import CHANGED, FILE, differences, read, run, write  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="run everything, and write the digests")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", nargs="?", const=FILE, help="run, and compare with FILE"
    )
    parser.add_argument("--with", dest="by", type=Path, metavar="FILE", help="compare this file; nothing is run")
    given = parser.parse_args()
    if given.write is None and given.compare is None:
        parser.error("expected --write FILE or --compare FILE")
    warnings.simplefilter("ignore")
    found = read(given.by) if given.by else run(lambda line: print(line, file=sys.stderr, flush=True))
    if given.write is not None:
        write(given.write, found)
    if given.compare is None:
        return 0
    before = read(given.compare)
    for name in found["signature"]:
        old, new = before["signature"].get(name), found["signature"][name]
        if old != new:
            print(f"another machine: {name} was {old}, is {new}", file=sys.stderr)
    told = differences(before, found)
    for name, what in told:
        print(f"{name}: {what}" + (f"  (on purpose: {CHANGED[name]})" if name in CHANGED else ""))
    return 1 if {name for name, _ in told} != set(CHANGED) else 0


if __name__ == "__main__":
    sys.exit(main())
