"""Models that others trained, as `transformers` saves them: from a folder, from the cache, or from the hub."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError, reason


def fetched(name: str, of: str, load: Callable[..., Any]) -> Any:
    """What is in the folder, or in the cache, or else on the hub; of: what the model takes, for the error.

    The hub is asked one quick question first: `transformers` would go on retrying a name with a typing error.
    """
    from huggingface_hub import HfApi

    try:
        return load(local_files_only=True)
    except Exception as error:
        if Path(name).is_dir():
            raise SecateurError(f"embedder: {name} could not be read as a model ({reason(error)})") from None
    try:
        HfApi().model_info(name, timeout=10)
        return load()
    except Exception as error:
        raise SecateurError(
            f"embedder: no folder {name}, it is not in the cache, and the hub did not give a model of {of} of that "
            f"name ({reason(error)})"
        ) from None


def absent_weights(name: str, found: Mapping[str, Any]) -> list[str]:
    """The weights that a checkpoint does not have, as its loading report says: those of a pooler at most.

    Raises SecateurError where there are others, since these would be random.
    """
    absent = sorted([*found["missing_keys"], *(str(key) for key in found["mismatched_keys"])])
    random = [key for key in absent if not key.startswith("pooler.")]
    if random:
        raise SecateurError(
            f"embedder: transformers:{name} was saved without {len(random)} of its weights ({random[0]}), which would "
            f"be random; name a model that is whole"
        )
    return absent


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without its bars and its report of weights, which is read instead."""
    log = transformers.logging
    level = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
