"""The workloads of `explain.py` in lime."""

import importlib.metadata

import lime.lime_tabular
import lime.lime_text
import numpy as np

from . import work

VERSION = importlib.metadata.version("lime")


def prepare(workload: str, tuned: bool):
    if workload == "lime_text":
        said, explainer = work.texts(), lime.lime_text.LimeTextExplainer(random_state=0)

        def of_texts():
            values = []
            for text in said:
                found = explainer.explain_instance(text, work.probabilities, labels=(1,), num_features=40, num_samples=1000)
                worth = dict(found.as_list(label=1))
                values.append([worth.get(word, 0.0) for word in text.split()])
            return np.array(values)

        return of_texts
    f, x, others = work.network(work.dense(work.SMALL)), work.rows(8, 10), work.rows(50, 10, 3)
    # Around the row and without quarters, as ours does by default; its own default answers another question.
    explainer = lime.lime_tabular.LimeTabularExplainer(
        others, mode="regression", discretize_continuous=False, sample_around_instance=True, random_state=0
    )

    def of_rows():
        values = np.zeros((len(x), 10))
        for number, row in enumerate(x):
            found = explainer.explain_instance(row, f, num_features=10, num_samples=5000)
            for feature, value in found.as_map()[1]:
                values[number, feature] = value
        return values

    return of_rows
