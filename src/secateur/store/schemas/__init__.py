"""One schema per file: everything that is read from disk is validated against it before use.

Keys that a schema does not name are ignored, since a later version may have written them.
"""

from secateur.store.schemas.base import checked as checked
from secateur.store.schemas.base import parsed as parsed
