"""A GPT that reads characters: six blocks of width 384, as small GPTs on Tiny Shakespeare are.

Places are told apart by the causal mask alone: Keras has no layer for a table of places, which would cost a sum.
"""

from . import data as sources
from .count import Part, block, dense
from .transformer import blocks, torch_block

SAYS = "GPT of 6 blocks of width 384 with 6 heads, 256 characters of 65, batch 12, Adam"
STEPS, WIDTH, INNER, HEADS, DEPTH, CHARACTERS = 256, 384, 1536, 6, 6, 65
ROWS, BATCH, EPOCHS = 12 * 2, 12, 1
CHECK = (24, 1)
LOSS, OPTIMIZER, RATE = "classes", "adam", 0.0003
INFER = (1,)
INPUTS = STEPS
GOAL = 1.2


def data():
    text = sources.integers(CHARACTERS, ROWS, STEPS + 1)
    return text[:, :-1].copy(), text[:, 1:].copy()


def keras(keras, layers, dropout):
    x = keras.Input((STEPS,), dtype="int32")
    h = layers.Embedding(CHARACTERS, WIDTH)(x)
    h = blocks(layers, h, depth=DEPTH, width=WIDTH, inner=INNER, heads=HEADS, causal=True)
    h = layers.LayerNormalization(epsilon=1e-5)(h)
    return keras.Model(x, layers.Dense(CHARACTERS)(h))


def torch(dropout):
    from torch import nn

    made = [torch_block(WIDTH, INNER, HEADS, True) for _ in range(DEPTH)]
    return nn.Sequential(nn.Embedding(CHARACTERS, WIDTH), *made, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CHARACTERS))


def parts():
    table = Part(0, CHARACTERS * WIDTH, STEPS * WIDTH)
    return [table, *(DEPTH * block(STEPS, WIDTH, INNER, causal=True)), dense(WIDTH, CHARACTERS, STEPS)]
