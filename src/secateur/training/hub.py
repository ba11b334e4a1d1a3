"""Models that others trained, as `transformers` saves them: from a folder, from the cache, or from the hub."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from secateur.errors import SecateurError, reason, refused
from secateur.extras import optional
from secateur.training.seeding import initialised


def pretrained(name: str, of: str, beside: str) -> tuple[Any, nn.Module, list[str]]:
    """What stands before a model (`AutoTokenizer` or the like, by name), the model in float32, and what it lacks.

    of: what the model takes, for the error. Raises SecateurError where it cannot be had, or lacks more than a pooler;
    MissingExtra without the package.
    """
    transformers = optional("transformers", "embedder")

    def load(**where: Any) -> tuple[Any, nn.Module, dict[str, Any]]:
        where["trust_remote_code"] = False  # unset, it would ask on the terminal
        before = getattr(transformers, beside).from_pretrained(name, **where)
        with initialised(0):
            return before, *transformers.AutoModel.from_pretrained(name, output_loading_info=True, **where)

    with _quiet(transformers):
        before, model, found = _fetched(name, of, load)
    return before, model.float(), _absent(name, found)


def _fetched(name: str, of: str, load: Callable[..., Any]) -> Any:
    """What is in the folder, or in the cache, or else on the hub; of: what the model takes, for the error.

    The hub is asked one quick question first: `transformers` would go on retrying a name with a typing error.
    """
    from huggingface_hub import HfApi

    try:
        return load(local_files_only=True)
    except Exception as error:
        if (told := refused(error, f"embedder: reading {name}")) is not None:
            raise told from None
        if Path(name).is_dir():
            raise SecateurError(f"embedder: {name} could not be read as a model ({reason(error)})") from None
    try:
        HfApi().model_info(name, timeout=10)
        return load()
    except Exception as error:
        raise refused(error, f"embedder: fetching {name}") or SecateurError(
            f"embedder: no folder {name}, it is not in the cache, and the hub did not give a model of {of} of that "
            f"name ({reason(error)})"
        ) from None


def _absent(name: str, found: Mapping[str, Any]) -> list[str]:
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
def _quiet(transformers: Any) -> Iterator[None]:
    """Without its bars and its report of weights, which is read instead."""
    log = transformers.logging
    level = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
