"""The schema of the provenance in the parquet files that this program writes."""

from typing import Any, NotRequired

from pydantic import with_config
from typing_extensions import TypedDict

from secateur.store.schemas.base import LOOSE, Count, Number, Text


@with_config(LOOSE)
class Provenance(TypedDict):
    """The origin of a table; a subset also says how it was selected."""

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
