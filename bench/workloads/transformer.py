"""A Transformer encoder that names the class of a sequence of words: two blocks, normalised first."""

from . import data as sources
from .count import Part, block, dense

SAYS = "Transformer encoder of 2 blocks of width 128 with 4 heads, 128 words of 10,000, 10 classes, batch 32, Adam"
STEPS, WIDTH, INNER, HEADS, DEPTH, WORDS = 128, 128, 512, 4, 2, 10_000
ROWS, BATCH, EPOCHS = 32 * 12, 32, 1
CHECK = (128, 1)  # in a second epoch the loss falls so steeply that rounding shows
LOSS, OPTIMIZER, RATE = "classes", "adam", 0.001
INFER = (1, 64)
INPUTS = STEPS
GOAL = 1.2


def data():
    return sources.integers(WORDS, ROWS, STEPS), sources.integers(10, ROWS, seed=2)


def blocks(layers, h, *, depth, width, inner, heads, causal):
    """``h + attention(norm(h))``, then ``h + dense(gelu(dense(norm(h))))``, ``depth`` times; also in `gpt.py`."""
    for _ in range(depth):
        y = layers.LayerNormalization(epsilon=1e-5)(h)
        h = layers.add([h, layers.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=causal)])
        y = layers.LayerNormalization(epsilon=1e-5)(h)
        y = layers.Dense(inner, activation="gelu")(y)
        h = layers.add([h, layers.Dense(width)(y)])
    return h


def keras(keras, layers, dropout):
    x = keras.Input((STEPS,), dtype="int32")
    h = layers.Embedding(WORDS, WIDTH)(x)
    h = blocks(layers, h, depth=DEPTH, width=WIDTH, inner=INNER, heads=HEADS, causal=False)
    h = layers.LayerNormalization(epsilon=1e-5)(h)
    return keras.Model(x, layers.Dense(10)(layers.GlobalAveragePooling1D()(h)))


def torch_block(width, inner, heads, causal):
    """The block of ``blocks`` as PyTorch does it fastest: one projection for queries, keys and values, fused attention."""
    from torch import nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x):
            batch, steps, _ = x.shape
            q, k, v = self.qkv(x).view(batch, steps, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            return self.out(y.transpose(1, 2).reshape(batch, steps, width))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.attention = nn.LayerNorm(width), Attention()
            self.between, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, inner), nn.Linear(inner, width)

        def forward(self, x):
            x = x + self.attention(self.before(x))
            return x + self.outer(nn.functional.gelu(self.inner(self.between(x))))

    return Block()


def torch(dropout):
    from torch import nn

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(1)

    made = [torch_block(WIDTH, INNER, HEADS, False) for _ in range(DEPTH)]
    return nn.Sequential(nn.Embedding(WORDS, WIDTH), *made, nn.LayerNorm(WIDTH), Mean(), nn.Linear(WIDTH, 10))


def parts():
    table = Part(0, WORDS * WIDTH, STEPS * WIDTH)
    return [table, *(DEPTH * block(STEPS, WIDTH, INNER)), dense(WIDTH, 10)]
