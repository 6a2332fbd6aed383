"""PaddleOCR-VL's vision tower and projector for training, batched for pictures of one size.

What a token of the bottom row puts out: the character whose middle lies in its left half, the same for its
right half (CHARACTERS scores each), and for both halves whether there is one. The other rows are to say
"none". The same mathematics as in the servers; `hub_tensors` names the weights as upstream's files do.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHARACTERS = 95
HIDDEN, INNER, LAYERS, HEADS, HEAD_SIZE = 64, 192, 3, 2, 32
ROWS = 6  # of patches, of which the position table knows each by itself
PATCH = 14
# Where each head looks at first: rows and columns away, and how sharply, from the highest frequency down. The
# two low ones across keep it from ever looking far to the side, so that short windows of a line can stand for
# whole lines.
NEAR = (2.0, 2.0, 9.0, 8.0)
LOOKS = (
    ((0.0, -1.0, (1.0, 1.5)), (0.0, 1.0, (1.0, 1.5))),
    ((-1.5, 0.0, (0.3, 1.5)), (-3.5, 0.0, (0.3, 1.5))),
    ((0.0, -1.0, (10.0, 4.0)), (0.0, 1.0, (10.0, 4.0))),
)


def rotary(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the two-dimensional rotary positions: patches x HEAD_SIZE."""
    frequency = 1.0 / 10000 ** (torch.arange(0, HEAD_SIZE // 2, 2).float() / (HEAD_SIZE // 2))
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angle = torch.cat([down.flatten()[:, None] * frequency, across.flatten()[:, None] * frequency], -1)
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def patches(pixels: Tensor) -> Tensor:
    """Grey pictures (pages, height, width) as patches (pages, rows, columns, 196) of -1 to 1."""
    count, height, width = pixels.shape
    scaled = (pixels.float() / 127.5 - 1).view(count, height // PATCH, PATCH, width // PATCH, PATCH)
    return scaled.permute(0, 1, 3, 2, 4).reshape(count, height // PATCH, width // PATCH, PATCH * PATCH)


class Layer(nn.Module):
    """Attention over the patches, then an MLP, each after a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(HIDDEN, 1e-6), nn.LayerNorm(HIDDEN, 1e-6)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(HIDDEN, INNER), nn.Linear(INNER, HIDDEN)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, first: int = 0) -> Tensor:
        """`first`: the first patch whose result is wanted; the ones before it are only looked at."""
        count, length, _ = x.shape
        seen = self.layer_norm1(x)
        key, value = _turned(_heads(self.k_proj(seen)), cos, sin), _heads(self.v_proj(seen))
        query = _turned(_heads(self.q_proj(seen[:, first:])), cos[first:], sin[first:])
        found = F.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value)
        x = x[:, first:] + self.out_proj(found.transpose(1, 2).reshape(count, length - first, HIDDEN))
        return x + self.fc2(F.gelu(self.fc1(self.layer_norm2(x)), approximate="tanh"))

    @torch.no_grad()
    def look(self, head: int, down: float, across: float, sharp_down: tuple[float, ...]) -> None:
        """Start a head with its sight centred that many patches away."""
        frequency = 1.0 / 10000 ** (torch.arange(0, HEAD_SIZE // 2, 2).float() / (HEAD_SIZE // 2))
        for axis, (away, sharp) in enumerate(((down, sharp_down), (across, NEAR))):
            for place, strength in enumerate(sharp):
                size, angle = math.sqrt(strength * math.sqrt(HEAD_SIZE)), frequency[place].item() * away
                at = head * HEAD_SIZE + axis * HEAD_SIZE // 4 + place
                self.k_proj.bias[at] = size
                self.q_proj.bias[at] = size * math.cos(angle)
                self.q_proj.bias[at + HEAD_SIZE // 2] = size * math.sin(angle)


class Tower(nn.Module):
    """The vision tower and the projector."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(PATCH * PATCH, HIDDEN)
        self.position = nn.Parameter(torch.randn(ROWS, HIDDEN) * 0.1)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.post_layernorm, self.pre_norm = nn.LayerNorm(HIDDEN, 1e-6), nn.LayerNorm(HIDDEN, 1e-5)
        self.linear_1, self.linear_2 = (
            nn.Linear(4 * HIDDEN, 4 * HIDDEN),
            nn.Linear(4 * HIDDEN, 2 * CHARACTERS + 2),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, module.in_features**-0.5)
                nn.init.zeros_(module.bias)
        for layer, looks in zip(self.layers, LOOKS, strict=True):
            for part, factor in (
                (layer.out_proj, 0.5),
                (layer.fc2, 0.5),
                (layer.q_proj, 0.15),
                (layer.k_proj, 0.15),
            ):
                part.weight.data *= factor
            for head, (down, across, sharp) in enumerate(looks):
                layer.look(head, down, across, sharp)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *, bottom: bool) -> tuple[Tensor, Tensor]:
        """Patches to characters and whether there is one, with CHARACTERS scores for each half token.

        Rows are tokens, columns patches. `bottom`: the bottom row alone, for less than half the work; the
        last layer then sees nothing else.
        """
        count, rows, columns, _ = x.shape
        first, kept = ((rows - 2) * columns, 2) if bottom else (0, rows)
        h = (self.patch(x) + self._position(rows)[:, None]).view(count, rows * columns, HIDDEN)
        h = self.layers[0](h, cos, sin)
        h = self.layers[1](h, cos, sin, first)
        h = self.layers[2](h, cos[first:], sin[first:])
        h = self.pre_norm(self.post_layernorm(h)).view(count, kept // 2, 2, columns // 2, 2, HIDDEN)
        h = h.transpose(2, 3).reshape(count, kept // 2, columns // 2, 4 * HIDDEN)
        out = self.linear_2(F.gelu(self.linear_1(h))).float()
        glyphs = out[..., : 2 * CHARACTERS].reshape(count, kept // 2, columns, CHARACTERS)
        return glyphs, out[..., 2 * CHARACTERS :].reshape(count, kept // 2, columns)

    def _position(self, rows: int) -> Tensor:
        """The table as the servers stretch it to the picture."""
        if rows == ROWS:
            return self.position
        table = self.position.t()[None, :, :, None]
        return F.interpolate(table, size=(rows, 1), mode="bilinear", align_corners=False)[0, :, :, 0].t()


def hub_tensors(tower: Tower) -> dict[str, Tensor]:
    """The weights by upstream's names, in float16."""
    root = "visual.vision_model."
    grey = (tower.patch.weight / 3).view(HIDDEN, 1, PATCH, PATCH).repeat(1, 3, 1, 1)
    found = {
        f"{root}embeddings.patch_embedding.weight": grey,
        f"{root}embeddings.patch_embedding.bias": tower.patch.bias,
        f"{root}embeddings.position_embedding.weight": tower.position.repeat_interleave(ROWS, 0),
    }
    for number, layer in enumerate(tower.layers):
        for name, tensor in layer.named_parameters():
            part = "mlp." if name.startswith("fc") else "self_attn." if "_proj" in name else ""
            found[f"{root}encoder.layers.{number}.{part}{name}"] = tensor
    for name, module in (
        (f"{root}post_layernorm", tower.post_layernorm),
        ("mlp_AR.pre_norm", tower.pre_norm),
        ("mlp_AR.linear_1", tower.linear_1),
        ("mlp_AR.linear_2", tower.linear_2),
    ):
        found[f"{name}.weight"], found[f"{name}.bias"] = module.weight, module.bias
    return {name: tensor.detach().half().contiguous() for name, tensor in found.items()}


def _heads(x: Tensor) -> Tensor:
    return x.view(x.shape[0], -1, HEADS, HEAD_SIZE).transpose(1, 2)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
