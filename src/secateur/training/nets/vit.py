"""A small vision transformer."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(dims)) v, of queries, keys and values (batch, heads, tokens, dims).

    mask: true where a query may look at a key.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # a step of vit_tiny in 0.53 of the time of torch's own, which is slow backwards in bfloat16 on the CPU
    weights = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        weights = weights.masked_fill(~mask, -torch.inf)
    return weights.softmax(dim=-1).to(v.dtype) @ v


class Block(nn.Module):
    """Pre-norm attention and feed-forward of so many units, each beside a shortcut."""

    def __init__(self, dims: int, heads: int, units: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dims), nn.LayerNorm(dims)
        self.qkv, self.out = nn.Linear(dims, 3 * dims), nn.Linear(dims, dims)
        self.feed = nn.Sequential(nn.Linear(dims, units), nn.GELU(), nn.Linear(units, dims))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x, _, _ = self.attend(x, mask)
        return self.think(x)

    def attend(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The first half: x (batch, tokens, dims), and queries and keys (batch, heads, tokens, dims of a head).

        mask: true where a query, in the last axis but one, may look at a key; it is spread over the heads.
        """
        batch, tokens, dims = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, dims // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return x + self.out(attention(q, k, v, mask).transpose(1, 2).reshape(batch, tokens, dims)), q, k

    def think(self, x: Tensor) -> Tensor:
        """The second half: each token by itself."""
        return x + self.feed(self.norm2(x))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021: 64 patches and a class token, 12 blocks; tiny with 192 dims and 3 heads.

    units: feed-forward units of each block, 4 * dims in each of `depth` blocks where none are given.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        dims: int = 192,
        depth: int = 12,
        heads: int = 3,
        units: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        side = max(1, min(shape[1:]) // 8)
        self.patches = nn.Conv2d(shape[0], dims, side, side)
        tokens = (shape[1] // side) * (shape[2] // side)
        self.token = nn.Parameter(torch.zeros(1, 1, dims))
        position = torch.randn(1, tokens + 1, dims)
        self.position = nn.Parameter(position if position.is_meta else position * 0.02)  # an outline is of no numbers
        self.blocks = nn.Sequential(*(Block(dims, heads, each) for each in units or (4 * dims,) * depth))
        self.norm = nn.LayerNorm(dims)
        self.head = nn.Linear(dims, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(x))[:, 0]))

    def tokens(self, x: Tensor) -> Tensor:
        """What enters the first block (batch, 1 + patches, dims): the class token and the patches of images."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat((self.token.expand(len(x), -1, -1), x), dim=1) + self.position

    def hidden_layers(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """The two layers around the feed-forward units of each block: what makes them, and what reads them."""
        feeds = [cast(Block, block).feed for block in self.blocks]
        return [(cast(nn.Linear, feed[0]), cast(nn.Linear, feed[2])) for feed in feeds]

    def multiply_adds(self, units: Sequence[int]) -> int:
        """Multiply-adds of one row, if the blocks had so many feed-forward units.

        Patches, the products of attention, both of its layers, feed-forward and the head are counted; norms, softmax,
        GELU, biases and the shortcuts are not.

        >>> ViT((1, 8, 8), 10, dims=3, depth=2).multiply_adds([1, 2])  # 64*3 + 2*(65*36 + 2*65*65*3) + 65*2*3*3 + 30
        56772
        """
        tokens, dims = self.position.shape[1:]
        attention = tokens * 4 * dims * dims + 2 * tokens * tokens * dims
        feed = tokens * 2 * dims * sum(units)
        return (tokens - 1) * self.patches.weight.numel() + len(units) * attention + feed + self.head.weight.numel()
