"""The bugs that `tests.mutate` puts into the code, by what they are about."""

from tests.mutations.bug import Bug
from tests.mutations.folders import FOLDERS
from tests.mutations.loops import LOOPS
from tests.mutations.methods import METHODS
from tests.mutations.names import NAMES
from tests.mutations.numbers import CHANCE, CLASSES, RANGED, TWICE
from tests.mutations.readers import READERS
from tests.mutations.stored import STORED
from tests.mutations.stores import STORES

BUGS: list[Bug] = [
    *METHODS, *NAMES, *FOLDERS, *READERS, *STORED, *RANGED, *TWICE, *LOOPS, *CHANCE, *CLASSES, *STORES,
]  # fmt: skip
