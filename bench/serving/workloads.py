"""The three models that are served: what they compute, what they are asked, and what the right answers are.

    W1  a tiny MLP 64-256-256-10: the request costs more than the model
    W2  ResNet-18 on pictures of 3x64x64: convolutions
    W3  an encoder of 4 layers, d=256, 4 heads, on 64 token ids: matrix products and attention

Weights are random with a fixed seed, the same for all servers. Needs torch; the servers of others import it too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SEED = 20_261_121
# Different questions, so that an answer that went to the wrong caller is seen.
QUESTIONS = 64
TOKENS = 64
VOCABULARY = 1000
WIDTH = 256

Array = NDArray[np.float32] | NDArray[np.int64]


class Residual(nn.Module):
    """A basic block of ResNet."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
        same = stride == 1 and channels_in == channels
        projection = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        self.shortcut = nn.Identity() if same else projection

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels_in, h, w] to [rows, channels, h/stride, w/stride]."""
        added: Tensor = self.second(self.first(x)) + self.shortcut(x)
        return torch.relu(added)


def resnet18() -> nn.Module:
    """ResNet-18 for 1000 classes."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks: list[nn.Module] = []
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [Residual(channels, width, stride), Residual(width, width, 1)]
        channels = width
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class Layer(nn.Module):
    """A transformer's encoder layer, normalised first."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(WIDTH)
        self.projections = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, WIDTH] to the same."""
        rows, tokens, _ = x.shape
        projected = self.projections(self.before(x)).view(rows, tokens, 3, self.heads, WIDTH // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, tokens, WIDTH))
        fed: Tensor = x + self.feed(x)
        return fed


class Encoder(nn.Module):
    """Token ids to one vector: the mean of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(torch.randn(1, TOKENS, WIDTH) / 10)
        self.layers = nn.Sequential(*(Layer(heads=4) for _ in range(4)))

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [rows, TOKENS] to [rows, WIDTH]."""
        mean: Tensor = self.layers(self.tokens(tokens) + self.places).mean(dim=1)
        return mean


def mlp() -> nn.Module:
    """64 numbers to 10."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


@dataclass(frozen=True)
class Workload:
    """One model and its questions.

    Attributes:
        row: shape and numpy's name of the type of one row.
        outputs: numbers in an answer.
        binary: whether it is asked in bytes where a server can take them; else in JSON.
        tolerance: by which an answer may differ from torch's, absolute and relative.
    """

    name: str
    build: Callable[[], nn.Module]
    draw: Callable[[np.random.Generator], Array]
    row: tuple[tuple[int, ...], str]
    outputs: int
    binary: bool
    tolerance: float = 1e-4

    def module(self) -> nn.Module:
        """The model, the same whenever it is made."""
        torch.manual_seed(SEED)
        return self.build().eval()

    def questions(self) -> Array:
        """[QUESTIONS, ...]: one row each."""
        return self.draw(np.random.default_rng(SEED))

    def answers(self) -> NDArray[np.float32]:
        """What eager torch says, each row alone."""
        predict = self.predictor()
        return np.concatenate([predict(row[None]) for row in self.questions()])

    def predictor(self) -> "Predictor":
        """Eager torch as every example has it: rows in, rows out, on one thread."""
        torch.set_num_threads(1)
        return Predictor(self.module())


class Predictor:
    """Eager torch; can be sent to another process."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, rows: Array) -> NDArray[np.float32]:
        """Rows in, rows out."""
        with torch.inference_mode():
            answer: NDArray[np.float32] = self._module(torch.from_numpy(np.ascontiguousarray(rows))).numpy()
        return answer


def _normal(*shape: int) -> Callable[[np.random.Generator], Array]:
    # Four digits behind the point, as a client would write numbers: the length of a JSON body is part of the work.
    return lambda random: random.normal(size=(QUESTIONS, *shape)).round(4).astype(np.float32)


def _ids(random: np.random.Generator) -> Array:
    return random.integers(0, VOCABULARY, size=(QUESTIONS, TOKENS), dtype=np.int64)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp", mlp, _normal(64), ((64,), "float32"), 10, binary=False),
        Workload("resnet", resnet18, _normal(3, 64, 64), ((3, 64, 64), "float32"), 1000, binary=True),
        Workload("encoder", Encoder, _ids, ((TOKENS,), "int64"), WIDTH, binary=True),
    )
}
