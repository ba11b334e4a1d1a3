"""What turns texts into embeddings: a language model trained elsewhere, or a function of your own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.registry import unknown
from secateur.training.foreign import own
from secateur.training.hub import pretrained

KINDS = ("transformers:NAME", "package.module:function")


@dataclass(frozen=True)
class TextEmbedder:
    """Texts to embeddings (texts, dims) float32, and how many texts were longer than the model takes."""

    spec: str
    model: Callable[[list[str]], tuple[Any, int]]

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        found, cut = self.model(list(texts))
        try:
            out = torch.as_tensor(found)
        except (TypeError, ValueError, RuntimeError):
            out = torch.empty(0)
        if out.ndim != 2 or len(out) != len(texts) or not out.is_floating_point():
            raise SecateurError(
                f"embedder: {self.spec} must give floats of shape (texts, dims), got {type(found).__name__} of shape "
                f"{tuple(getattr(found, 'shape', ()))} for {len(texts)} texts"
            )
        return out.float(), cut


def text_embedder(spec: str, *, device: torch.device) -> TextEmbedder:
    """An embedder of texts.

    spec: `transformers:NAME`, a model of a folder, the cache or the hub with its own tokenizer: the text features of a
    model of images and text, of any other the mean of its last hidden states over the tokens of a text, as sentence
    encoders are used; texts are cut at the length it takes. `package.module:function`, called as function(), for
    one of your own: it gives what takes a list of str and gives an array (texts, dims).

    Raises SecateurError where there is no such thing, or no network to fetch it; MissingExtra without the package.
    """
    name, _, rest = spec.partition(":")
    if name == "transformers" and rest:
        return TextEmbedder(spec, _transformers(rest, device))
    if "." in name and rest:
        call = own("embedder", spec)
        if not callable(call):
            raise SecateurError(f"embedder: {spec} must give what takes a list of texts, got {type(call).__name__}")
        return TextEmbedder(spec, lambda texts: (call(texts), 0))
    raise unknown("embedder", spec, list(KINDS))


class Language:
    """A model of `transformers` behind its tokenizer."""

    def __init__(self, model: nn.Module, tokenizer: Any, device: torch.device) -> None:
        about: Any = model.config
        self.features = getattr(model, "get_text_features", None)
        encoder = model.get_encoder() if getattr(about, "is_encoder_decoder", False) else model  # type: ignore[operator]
        self.model, self.tokenizer, self.device = encoder.to(device).eval(), tokenizer, device
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        positions = getattr(getattr(about, "text_config", about), "max_position_embeddings", None)
        self.longest = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)

    def __call__(self, texts: list[str]) -> tuple[Tensor, int]:
        whole = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        cut = sum(len(tokens) > self.longest for tokens in whole)
        short = {"truncation": True, "max_length": self.longest} if cut else {}
        given = self.tokenizer(texts, padding=True, return_tensors="pt", **short).to(self.device)
        if self.features is not None:
            out = self.features(**{name: given[name] for name in ("input_ids", "attention_mask")})
            return (out if isinstance(out, Tensor) else out.pooler_output), cut
        states, said = self.model(**given).last_hidden_state, given["attention_mask"][..., None]
        return (states * said).sum(1) / said.sum(1), cut


def _transformers(name: str, device: torch.device) -> Language:
    tokenizer, model, _ = pretrained(name, "text", "AutoTokenizer")
    return Language(model, tokenizer, device)
