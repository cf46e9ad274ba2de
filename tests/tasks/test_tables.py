"""Tabular tasks from file to answers: guessed, trained, scored, saved and loaded; linear models beside scikit-learn's."""

import numpy as np
import pytest

import cenote as cn
from cenote import tasks
from cenote.tasks.table_linear import logistic, ridge, ridge_weights
from cenote.tasks.table_network import CosineLog, TableNetwork
from cenote.tasks.tables import TabularClassification, TabularRegression


@pytest.fixture(scope="module")
def titanic(data_folder):
    path = data_folder / "tabular/titanic.csv"
    return tasks.train(path, "Survived", epochs=60, verbose=0), path


def test_titanic_is_guessed_and_learned(titanic):
    trained, _ = titanic
    assert trained.task.name == "tabular-classification" and trained.answers.names == ["0", "1"]
    assert trained.scores["accuracy"] > 0.74  # 62% is the majority class
    baselines = {b.name: b.value for b in trained.baselines}
    assert 0.55 < baselines["majority class"] < 0.68 and 0.72 < baselines["linear model"] < 0.9
    said = trained.job.announcement()
    assert (
        said.count("PassengerId") == 1 and "PassengerId  left out: it numbers the rows" in said
    )  # once, and not as a note, too
    assert "'Age' is missing in" in said and "rare categories of column 'Ticket'" in said


def test_without_a_validation_part_the_last_weights_stay():
    rows = {"size": [i / 2 for i in range(40)], "price": [3.0 * i + 1 for i in range(40)]}
    task, seen = TabularRegression(target="price", model="linear", optimizer="sgd", learning_rate=5.0, epochs=4), []
    job = task.plan(rows, validation=0)
    keep = cn.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((logs["loss"], job.model.get_weights())))
    outcome = job.fit(verbose=0, callbacks=[keep])
    assert seen[0][0] < seen[-1][0]  # so the first epoch was the best
    assert all((a == b).all() for a, b in zip(job.model.get_weights(), seen[-1][1], strict=True))
    assert outcome.kept_epoch is None and "nothing is held out to choose by" in job.announcement()


def test_the_file_of_it_answers_the_same(titanic, tmp_path):
    trained, path = titanic
    trained.save(tmp_path / "titanic.cenote")
    again = cn.load(tmp_path / "titanic.cenote")
    row = {"Pclass": 1, "Name": "Bonnell, Miss. Caroline", "Sex": "female", "Age": 30, "SibSp": 0, "Parch": 0}
    row |= {"Ticket": "36928", "Fare": 164.9, "Cabin": "C7", "Embarked": "S"}
    first, second = trained.predict(row), again.predict(row)
    assert first[0]["label"] == second[0]["label"] == "1"
    assert first[0]["probability"] == pytest.approx(second[0]["probability"], abs=1e-6)
    assert again.evaluate(path)["accuracy"] > 0.78
    assert len(again.predict(path)) == 891
    del row["Sex"]
    with pytest.raises(ValueError, match="lacks the column 'Sex'"):
        again.predict(row)


def test_probabilities_and_explanations_speak_of_columns(titanic):
    trained, path = titanic
    p = trained.outputs(path)
    assert p.shape == (891, 2)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert any("Sex" in name for name in trained.preparation.features())


def test_columns_that_part_the_rows_need_not_be_there_to_evaluate():
    draw = np.random.RandomState(0)
    size, who = draw.rand(80), [f"person {i}" for i in range(20)] * 4
    rows = {"size": size, "zip": [501 + i % 3 for i in range(80)], "who": who, "note": who, "fit": (size > 0.5).astype(int)}
    task = TabularClassification(target="fit", groups="who", drop=["note"], types={"zip": "category"}, epochs=3)
    trained = task.train(rows, verbose=0)
    assert trained.job.parts.how == "grouped" and not {"who", "note"} & {e.name for e in trained.preparation.encoders}
    assert "zip = 501" in trained.preparation.features()
    scores = trained.evaluate({"size": [0.1, 0.9], "zip": [501, 502], "fit": [0, 1]})
    assert scores.count == 2
    with pytest.raises(ValueError, match="use predict"):
        trained.evaluate({"size": [0.1, 0.9], "zip": [501, 502]})


def test_a_target_that_is_not_there_and_one_class_only():
    rows = {"a": [1.0, 2.5, 3.5, 4.0] * 5, "b": ["x"] * 20, "c": ["p", "q"] * 10}
    with pytest.raises(ValueError, match="did you mean"):
        TabularClassification(target="bb").train(rows, verbose=0)
    with pytest.raises(ValueError, match="one value only, 'x'"):
        TabularClassification(target="b").train(rows, verbose=0)
    with pytest.raises(ValueError, match=r"'c' holds words, such as 'p', 'q', and a regression .*: name a classification"):
        TabularRegression(target="c").train(rows, verbose=0)
    with pytest.raises(ValueError, match="unknown column 'cc'"):  # whatever kind of text it is
        TabularRegression(target="a", drop=[np.str_("cc")]).train(rows, verbose=0)
    mixed = {"a": rows["a"], "n": [str(i) for i in range(19)] + ["oops"]}
    with pytest.raises(ValueError, match="holds 'oops' in row 20; expected a number: mend the cell or empty it") as error:
        TabularRegression(target="n").train(mixed, verbose=0)
    assert "types=" not in str(error.value)


def test_a_million_classes_are_none():
    users = [f"u{v}" for v in np.random.RandomState(0).randint(0, 10**6, 20_000)]
    with pytest.raises(ValueError, match="hardly classes"):
        TabularClassification(target="user").train({"x": np.random.RandomState(0).randn(20_000), "user": users}, verbose=0)


@pytest.mark.parametrize(
    "column, task",
    [("Survived", "tabular-classification"), ("Fare", "tabular-regression"), (["Fare", "Age"], "tabular-regression")],
)
def test_the_kind_of_target_tells_the_task(data_folder, column, task):
    cls, why = tasks.guess(data_folder / "tabular/titanic.csv", column)
    assert cls.name == task and "a table whose target" in why


@pytest.fixture(scope="module")
def surface():
    draw = np.random.RandomState(0)
    x, z = draw.rand(500), draw.rand(500)
    kind = draw.randint(0, 12, 500)
    y = np.sin(6 * x) + z * (kind % 2) + 100
    rows = {"x": x, "z": z, "kind": [f"kind {k}" for k in kind], "y": y, "double": 2 * y + 1}
    return TabularRegression(target=["y", "double"], epochs=60).train(rows, verbose=0)


def test_two_quantities_with_embedded_categories(surface):
    assert surface.preparation.sizes() == [13]
    assert surface.scores["R²"] > 0.8
    linear = next(b.value for b in surface.baselines if b.name == "linear model")
    assert surface.scores["RMSE"] < 0.7 * linear
    answer = surface.predict({"x": 0.25, "z": 0.5, "kind": "kind 1"})[0]["values"]
    assert answer["y"] == pytest.approx(np.sin(1.5) + 0.5 + 100, abs=0.4)
    assert answer["double"] == pytest.approx(2 * answer["y"] + 1, abs=0.8)
    unseen = next(surface.answer({"x": 0.25, "z": 0.5, "kind": "kind 77"}))[1]
    assert any("'kind 77'" in note for note in unseen)


def test_members_answer_for_their_share_in_training_and_together_otherwise():
    import jax

    net = TableNetwork(3, members=4, width=8, depth=1, dropout=0.0).build(np.zeros((10, 5), "float32"))
    params, state = net.arrays()
    x = np.random.RandomState(0).randn(10, 5).astype("float32")
    answer = jax.jit(lambda params, train: net.apply(params, state, x, train=train, key=jax.random.key(0))[0], static_argnums=1)
    alone = answer(params, True)
    assert alone.shape == (10, 3)
    each = []
    for m in range(4):  # a network whose members are all alike is one network
        same = {k: np.repeat(np.asarray(v)[m : m + 1], 4, axis=0) for k, v in params.items()}
        each.append(np.asarray(answer(same, False)))
    together = answer(params, False)
    np.testing.assert_allclose(together, np.mean(each, axis=0), atol=1e-6)
    shares = np.arange(10) // 3  # ten rows in four shares of three
    np.testing.assert_allclose(alone, np.stack(each)[shares, np.arange(10)], atol=1e-6)


def test_the_schedule_goes_down_four_times_and_ends_at_zero():
    rates = np.asarray(CosineLog(1.0, 150)(np.arange(151)))
    lows = (rates[1:-1] < rates[:-2]) & (rates[1:-1] <= rates[2:])
    assert lows.sum() == 3 and rates[0] == rates[-1] == pytest.approx(0, abs=1e-6) and rates.max() > 0.99


def test_linear_models_beside_scikit_learn():
    datasets, linear = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.linear_model")
    for data in (datasets.load_breast_cancer(), datasets.load_iris()):
        x = (data.data - data.data.mean(0)) / data.data.std(0)
        theirs = linear.LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(x, data.target).predict_proba(x)
        np.testing.assert_allclose(logistic(data.data, data.target, len(data.target_names))(data.data), theirs, atol=1e-3)
    data = datasets.load_diabetes()
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    theirs = linear.Ridge(10.0).fit(x, data.target).predict(x)
    np.testing.assert_allclose(ridge(data.data, data.target, (10.0,))(data.data)[:, 0], theirs, rtol=1e-8)
    chosen = linear.RidgeCV((0.1, 1.0, 10.0, 100.0, 1000.0)).fit(x, data.target)
    weights, bias = ridge_weights(x, data.target, (0.1, 1.0, 10.0, 100.0, 1000.0))
    np.testing.assert_allclose(weights[:, 0], chosen.coef_, rtol=1e-6)
    assert bias[0] == pytest.approx(chosen.intercept_)
