"""The bugs that `tests.mutate` puts into the code, by what they are about."""

from tests.mutations.bug import Bug
from tests.mutations.methods import METHODS

BUGS: list[Bug] = [*METHODS]
