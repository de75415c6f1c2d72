"""The figures are those that scikit-learn gives."""

import numpy as np
import pytest
from sklearn import metrics as known

from windlass_train.evaluate import classification_metrics, regression_metrics


def test_classification_figures_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 5, 400)
    probabilities = random.dirichlet(np.ones(6), 400)  # the class 5 is never true
    predicted = probabilities.argmax(axis=1)
    figures = classification_metrics(probabilities, classes)
    assert figures["accuracy"] == pytest.approx(known.accuracy_score(classes, predicted))
    assert figures["macroF1"] == pytest.approx(known.f1_score(classes, predicted, average="macro"))
    assert figures["logLoss"] == pytest.approx(known.log_loss(classes, probabilities, labels=range(6)))


def test_regression_figures_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(100, 20, 300)
    predictions = (truth + random.normal(0, 5, 300)).astype(np.float32)
    figures = regression_metrics(predictions, truth)
    assert figures["rmse"] == pytest.approx(known.root_mean_squared_error(truth, predictions))
    assert figures["mae"] == pytest.approx(known.mean_absolute_error(truth, predictions))
    assert figures["r2"] == pytest.approx(known.r2_score(truth, predictions))


def test_a_certain_mistake_does_not_make_the_log_loss_infinite() -> None:
    figures = classification_metrics(np.array([[1.0, 0.0]]), np.array([1]))
    assert figures["logLoss"] == pytest.approx(-np.log(1e-15))


@pytest.mark.parametrize(("prediction", "r2"), [(3.0, 1.0), (4.0, 0.0)])
def test_r2_of_a_constant_truth_is_one_if_it_is_met(prediction: float, r2: float) -> None:
    assert regression_metrics(np.full(4, prediction), np.full(4, 3.0))["r2"] == r2
