"""What stands beside the columns of parquet files that this program writes: their provenance."""

from typing import Any, NotRequired

from pydantic import with_config
from typing_extensions import TypedDict

from secateur.store.schemas.base import LOOSE, Count, Number, Text


@with_config(LOOSE)
class Provenance(TypedDict):
    """Where a table came from; a subset also says by what it was selected."""

    fingerprint: NotRequired[Text | None]
    method: NotRequired[Text]
    knobs: NotRequired[dict[str, Any]]
    score: NotRequired[Text | None]
    keep: NotRequired[Number]
    kept: NotRequired[Count]
    of: NotRequired[Count]
    recorded: NotRequired[dict[str, Any]]
    epochs: NotRequired[Count]
    probed: NotRequired[dict[str, dict[str, Any]]]
