"""What each file may hold, one schema a file: whatever is read from disk is checked against it before it is believed.

Keys that a schema does not name are passed over, since a later version may have written them.
"""

from secateur.store.schemas.base import checked as checked
from secateur.store.schemas.base import parsed as parsed
