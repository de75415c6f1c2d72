"""The three models that serving is measured with: small, middle and large for a CPU. Plain torch, nothing to download.

    mlp       64 numbers in, 10 out, two hidden layers of 256: the server's own work shows
    resnet    ResNet-18 on 3x64x64: convolutions
    encoder   4 layers, d=256, 4 heads on 64 token ids, 256 numbers out: matrix products and attention

Weights are random but always the same. Knows no store and no server.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
# Rows of the example inputs: enough to compare engines on, few enough to be stored with a version.
EXAMPLE_ROWS = 16
TOKENS = 1000  # size of the encoder's vocabulary


@dataclass(frozen=True)
class Workload:
    """One model: how it is made, and example inputs for a number of rows, by name."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int], dict[str, Tensor]]
    outputs: tuple[str, ...]

    def module(self) -> nn.Module:
        """The model in evaluation mode; the same weights every time."""
        torch.manual_seed(SEED)
        return self.make().eval()

    def example(self, rows: int = EXAMPLE_ROWS) -> dict[str, Tensor]:
        """So many rows of inputs; the same every time."""
        torch.manual_seed(SEED + 1)
        return self.inputs(rows)


def mlp() -> nn.Module:
    """64-256-256-10."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


class Block(nn.Module):
    """Two 3x3 convolutions around which the input passes by, as in ResNet-18."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        same = stride == 1 and channels == width
        self.past = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, images: Tensor) -> Tensor:
        """float32 [rows, channels, h, w] to [rows, width, h / stride, w / stride]."""
        return functional.relu(self.body(images) + self.past(images))


def resnet() -> nn.Module:
    """The layout of ResNet-18 with ten classes."""
    widths = (64, 128, 256, 512)
    layers: list[nn.Module] = [
        nn.Conv2d(3, widths[0], 7, 2, padding=3, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    ]
    channels = widths[0]
    for width in widths:
        layers += [Block(channels, width, 1 if width == channels else 2), Block(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Layer(nn.Module):
    """Attention and a network of two layers, each behind a normalisation and beside its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, values: Tensor) -> Tensor:
        """float32 [rows, tokens, width] to the same."""
        rows, tokens, width = values.shape
        parts = self.queries_keys_values(self.before_attention(values))
        parts = parts.view(rows, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        values = values + self.joined(attended.transpose(1, 2).reshape(rows, tokens, width))
        return values + self.network(self.before_network(values))


class Encoder(nn.Module):
    """Token ids to the mean of what the last layer makes of them."""

    def __init__(self, tokens: int = 64, width: int = 256, heads: int = 4, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [rows, tokens] to float32 [rows, width]."""
        embedded: Tensor = self.layers(self.embedding(tokens) + self.position)
        return embedded.mean(dim=1)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp", mlp, lambda rows: {"features": torch.randn(rows, 64)}, ("scores",)),
        Workload("resnet", resnet, lambda rows: {"images": torch.randn(rows, 3, 64, 64)}, ("scores",)),
        Workload("encoder", Encoder, lambda rows: {"tokens": torch.randint(0, TOKENS, (rows, 64))}, ("embedding",)),
    )
}
