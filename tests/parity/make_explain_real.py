"""Small networks trained on digits and Chinese reviews, and what captum, shap and lime say of them by default.

Writes explain_real.json; run by hand with an interpreter that has cenote, captum, shap, lime and torch, and CENOTE_DATA set.
The weights are rounded to float16 first, so that every library explains the very same function.
"""

import base64
import gzip
import json
import os
import sys
import warnings
from collections import Counter
from pathlib import Path

import captum.attr
import lime.lime_tabular
import lime.lime_text
import numpy as np
import shap
import torch

from cenote import Sequential, datasets, layers

warnings.filterwarnings("ignore")
torch.manual_seed(0)
ROWS, BACKGROUND = 24, 20
LENGTH, KNOWN = 64, 500  # characters of a review that are read, and characters that are known


def packed(array):
    """Numbers as text: float16, base64."""
    array = np.asarray(array, np.float16)
    return {"shape": list(array.shape), "float16": base64.b64encode(array.tobytes()).decode()}


def fitted(model, x, y, epochs):
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=0)
    model.set_weights([np.float32(np.float16(w)) for w in model.get_weights()])
    return [np.float32(w) for w in model.get_weights()]


def softmax(y):
    y = np.exp(y - y.max(1, keepdims=True))
    return y / y.sum(1, keepdims=True)


# -- digits ----------------------------------------------------------------------------------------------------------------


class Digits(torch.nn.Module):
    """Takes (rows, 64), pixels in reading order."""

    def __init__(self, weights):
        super().__init__()
        self.first, self.second, self.last = torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 8, 3), torch.nn.Linear(128, 10)
        self.relu, self.relu2 = torch.nn.ReLU(), torch.nn.ReLU()
        shaped = [torch.tensor(w) for w in weights]
        for layer, (w, b) in zip((self.first, self.second), (shaped[:2], shaped[2:4]), strict=True):
            layer.weight.data, layer.bias.data = w.permute(3, 2, 0, 1).contiguous(), b
        w = shaped[4].reshape(4, 4, 8, 10).permute(2, 0, 1, 3).reshape(128, 10)  # channels first
        self.last.weight.data, self.last.bias.data = w.T.contiguous(), shaped[5]

    def forward(self, x):
        x = self.relu2(self.second(self.relu(self.first(x.reshape(-1, 1, 8, 8)))))
        return self.last(x.flatten(1))


def digits():
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    x, x_test = (a.astype("float32") / 16 for a in (x, x_test))
    model = Sequential(
        [
            *(layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(8, 3, activation="relu")),
            *(layers.Flatten(), layers.Dense(10, "softmax")),
        ]
    )
    weights = fitted(model, x[..., None], y, 15)
    print("digits", model.evaluate(x_test[..., None], y_test, verbose=0))
    net = Digits(weights)
    shown, others = x_test[:ROWS].reshape(ROWS, 64), x[:: len(x) // BACKGROUND][:BACKGROUND].reshape(BACKGROUND, 64)
    rows = torch.tensor(shown)
    with torch.no_grad():
        logits = net(rows).numpy()
    assert np.abs(softmax(logits) - model.predict(shown.reshape(ROWS, 8, 8, 1), verbose=0)).max() < 1e-5
    target = logits.argmax(1)
    aim = torch.tensor(target)

    def ask(x):
        with torch.no_grad():
            return net(torch.tensor(np.asarray(x, np.float32))).numpy()

    found = {}
    for name in ("Saliency", "IntegratedGradients", "DeepLift", "ShapleyValueSampling", "KernelShap"):
        method = getattr(captum.attr, name)(net)
        if name == "KernelShap":  # it takes rows one by one
            values = torch.cat([method.attribute(r[None], target=int(t)) for r, t in zip(rows, aim, strict=True)])
        else:
            values = method.attribute(rows.clone().requires_grad_(), target=aim)
        found[f"captum {name}"] = values.detach().numpy()
    pick = np.arange(ROWS)
    np.random.seed(0)
    kernel = shap.KernelExplainer(ask, others).shap_values(shown, silent=True)
    found["shap KernelExplainer"] = np.asarray(kernel)[pick, :, target]
    orders = shap.explainers.Permutation(ask, shap.maskers.Independent(others), seed=0)(shown)
    found["shap Permutation"] = orders.values[pick, :, target]
    found["shap GradientExplainer"] = np.asarray(shap.GradientExplainer(net, torch.tensor(others)).shap_values(rows))[
        pick, :, target
    ]
    found["shap DeepExplainer"] = np.asarray(shap.DeepExplainer(net, torch.tensor(others)).shap_values(rows))[pick, :, target]
    explainer = lime.lime_tabular.LimeTabularExplainer(x.reshape(-1, 64), random_state=0)
    values = np.zeros((ROWS, 64))
    for row, t in enumerate(target):
        said = explainer.explain_instance(shown[row], lambda x: softmax(ask(x)), labels=[int(t)])
        for feature, value in said.as_map()[int(t)]:
            values[row, feature] = value
    found["lime LimeTabularExplainer"] = values
    return {"weights": [packed(w) for w in weights], "defaults": {k: packed(v) for k, v in found.items()}}


# -- reviews ---------------------------------------------------------------------------------------------------------------


class Reviews(torch.nn.Module):
    """Takes (rows, 64), numbers of characters, 0 for those that are not known and behind the end."""

    def __init__(self, weights):
        super().__init__()
        table, kernel, bias, last, shift = (torch.tensor(w) for w in weights)
        self.table = torch.nn.Embedding.from_pretrained(table, freeze=False)
        self.conv = torch.nn.Conv1d(table.shape[1], kernel.shape[2], 3, padding=1)
        self.conv.weight.data, self.conv.bias.data = kernel.permute(2, 1, 0).contiguous(), bias
        self.last = torch.nn.Linear(*last.shape)
        self.last.weight.data, self.last.bias.data = last.T.contiguous(), shift

    def forward(self, x):
        x = torch.relu(self.conv(self.table(x).transpose(1, 2)))
        return self.last(x.amax(2))


def reviews():
    folder = Path(os.environ["CENOTE_DATA"]) / "chnsenticorp"

    def read(part):
        with gzip.open(folder / f"{part}.tsv.gz", "rt", encoding="utf-8") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
        return [r[0] for r in rows], np.array([r[1] == "positive" for r in rows], "int32")

    texts, y = read("train")
    letters = [c for c, _ in Counter(c for t in texts for c in t if not c.isspace()).most_common(KNOWN)]
    place = {c: n for n, c in enumerate(letters, 1)}

    def numbers(texts):
        rows = [[place.get(c, 0) for c in t][:LENGTH] for t in texts]
        return np.array([r + [0] * (LENGTH - len(r)) for r in rows], "int32").reshape(-1, LENGTH)

    model = Sequential(
        [
            *(layers.Embedding(KNOWN + 1, 8), layers.Dropout(0.2), layers.Conv1D(16, 3, padding="same", activation="relu")),
            *(layers.GlobalMaxPooling1D(), layers.Dropout(0.3), layers.Dense(2, "softmax")),
        ]
    )
    weights = fitted(model, numbers(texts), y, 12)
    held, held_y = read("dev")
    print("reviews", model.evaluate(numbers(held), held_y, verbose=0))
    net = Reviews(weights)
    seen = set(texts)
    shown = [n for n, t in enumerate(held) if 30 <= len(t) <= 60 and t not in seen][:ROWS]
    said = [held[n] for n in shown]

    def ask(texts):
        with torch.no_grad():
            return softmax(net(torch.tensor(numbers(list(texts)))).numpy())

    assert np.abs(ask(said) - model.predict(numbers(said), verbose=0)).max() < 1e-5
    target = ask(said).argmax(1)
    longest = max(map(len, said))
    found = {}

    slopes = captum.attr.LayerIntegratedGradients(net, net.table).attribute(
        torch.tensor(numbers(said)), target=torch.tensor(target)
    )
    found["captum LayerIntegratedGradients"] = slopes.detach().numpy().sum(-1)[:, :longest]
    # lime and shap cut texts at what is no letter: a clause of Chinese is one word; each of its characters gets a part here.
    values = np.zeros((2, ROWS, longest))
    explainer = lime.lime_text.LimeTextExplainer(random_state=0)
    for row, text in enumerate(said):
        answer = explainer.explain_instance(text, ask, labels=[int(target[row])])
        indexed = answer.domain_mapper.indexed_string
        for word, value in answer.as_map()[int(target[row])]:
            places = [
                p
                for start in np.atleast_1d(indexed.string_position(word))
                for p in range(start, start + len(indexed.word(word)))
            ]
            values[0, row, places] = value / len(places)
    answers = shap.Explainer(ask, shap.maskers.Text(r"\W+"), seed=0)(said)
    for row, text in enumerate(said):
        at = 0
        for piece, value in zip(answers.data[row], answers.values[row][:, target[row]], strict=True):
            at = text.index(piece, at) if piece in text[at:] else at
            values[1, row, at : at + len(piece)] = value / max(len(piece), 1)
            at += len(piece)
    found["lime LimeTextExplainer"], found["shap Partition"] = values
    return {
        "weights": [packed(w) for w in weights],
        "letters": "".join(letters),
        "rows": shown,
        "defaults": {k: packed(v) for k, v in found.items()},
    }


if __name__ == "__main__":
    answers = {"digits": digits(), "reviews": reviews()}
    Path(__file__).with_name("explain_real.json").write_text(json.dumps(answers, ensure_ascii=False) + "\n", encoding="utf-8")
    print(sys.version)
