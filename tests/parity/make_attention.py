"""Writes attention.json: what PyTorch's transformer layers and EmbeddingBag answer. Run by hand, not by the tests.

    python tests/parity/make_attention.py

Inputs and weights are drawn by `numbers` in the order in which they are asked for, so that the test draws the same ones.
"""

import json
from pathlib import Path

import numpy as np
import torch

FEATURES, HEADS, INNER = 4, 2, 6
ENCODERS = {
    "plain": {},
    "first_gelu": {"norm_first": True, "activation": "gelu"},
    "padded": {"padding": [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]},
    "causal": {"causal": True},
}
DECODERS = {"plain": {}, "first": {"norm_first": True}, "padded": {"padding": [[0, 0, 0, 1], [0, 0, 1, 1]]}}
BAGS = [[1, 2, 0, 5], [4, 0, 0, 0], [0, 0, 0, 0], [5, 5, 3, 1]]


def numbers(seed):
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.normal(size=shape).astype("float32")


def fill(layer, draw):
    """Weights in the order of the layer's parameters: (name, values)."""
    with torch.no_grad():
        for _, weight in layer.named_parameters():
            weight.copy_(torch.from_numpy(draw(*weight.shape)))


def answer(y):
    return np.asarray(y.detach().numpy(), "float32").tolist()


def encoder(options):
    draw = numbers(0)
    options = dict(options)
    padding, causal = options.pop("padding", None), options.pop("causal", False)
    layer = torch.nn.TransformerEncoderLayer(FEATURES, HEADS, INNER, dropout=0.0, batch_first=True, **options)
    fill(layer, draw)
    x = torch.from_numpy(draw(2, 5, FEATURES))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5) if causal else None
    hidden = None if padding is None else torch.tensor(padding, dtype=torch.bool)
    return answer(layer(x, src_mask=mask, src_key_padding_mask=hidden))


def decoder(options):
    draw = numbers(1)
    options = dict(options)
    padding = options.pop("padding", None)
    layer = torch.nn.TransformerDecoderLayer(FEATURES, HEADS, INNER, dropout=0.0, batch_first=True, **options)
    fill(layer, draw)
    x, memory = torch.from_numpy(draw(2, 3, FEATURES)), torch.from_numpy(draw(2, 4, FEATURES))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(3)
    hidden = None if padding is None else torch.tensor(padding, dtype=torch.bool)
    return answer(layer(x, memory, tgt_mask=mask, memory_key_padding_mask=hidden))


def bags():
    draw = numbers(2)
    table, weights, mark = draw(6, 3), draw(4, 4), draw(4, 3)
    found = {}
    for mode in ("sum", "mean", "max"):
        for padding in (None, 0):
            for weighted in (False, True) if mode == "sum" else (False,):
                layer = torch.nn.EmbeddingBag(6, 3, mode=mode, padding_idx=padding)
                with torch.no_grad():
                    layer.weight.copy_(torch.from_numpy(table))
                y = layer(torch.tensor(BAGS), per_sample_weights=torch.from_numpy(weights) if weighted else None)
                (y * torch.from_numpy(mark)).sum().backward()
                found[f"{mode},{padding},{weighted}"] = [answer(y), answer(layer.weight.grad)]
    layer = torch.nn.EmbeddingBag(6, 3, mode="mean")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(table))
    found["offsets"] = answer(layer(torch.tensor([1, 2, 4, 5, 4, 3, 2, 0]), torch.tensor([0, 4, 4])))
    return found


if __name__ == "__main__":
    answers = {
        "encoder": {name: encoder(options) for name, options in ENCODERS.items()},
        "decoder": {name: decoder(options) for name, options in DECODERS.items()},
        "bags": bags(),
        "torch": torch.__version__,
    }
    path = Path(__file__).with_name("attention.json")
    text = json.dumps(answers, indent=1)
    path.write_text(text + "\n")
    print(path, len(text))
