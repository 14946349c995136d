"""Paired replay end to end: answered requests, their log, and two loaded Models that score it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.serving import dynamic, load
from support.tiny_model import INSTANCES, NAN_AGE

from headrace.components.deploy.canary.evidence import Replay
from headrace.components.deploy.canary.labels import LabelLosses
from headrace.components.deploy.canary.replay import ReplaySession
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.parquet import convert
from headrace.components.request_log.writer import RequestLogWriter
from headrace.components.serve.modes.answerer import RowsRequest
from headrace.core.scoring.predictor import BatchPredictions, PredictionFault


class Biased:
    """The canary: the same model, of which the predictions for twins are 0.5 less, and those for smokers fail."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, columns: Any) -> Any:
        found = self._model.predict(columns)
        twins = columns["plurality"] == "2"
        values = np.where(twins[found.at], found.outputs["prediction"] - 0.5, found.outputs["prediction"])
        values[columns["mother_smokes"][found.at] == "true"] = np.nan
        return BatchPredictions(
            {**found.outputs, "prediction": values},
            found.at,
            {int(at): PredictionFault("not_finite", "no", "nan") for at in found.at[np.isnan(values)]},
            "v2",
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Any:
    return load(make_model(tmp_path_factory.mktemp("models") / "v2", "v2"))


@pytest.mark.parametrize("as_parquet", [False, True])
def test_answered_requests_are_logged_and_replayed(model: Any, tmp_path: Path, as_parquet: bool) -> None:
    writer = RequestLogWriter(RequestLogConfig(str(tmp_path), share=1.0))
    answerer = dynamic(model, log=writer)
    refused = {**INSTANCES[0], "mother_age": NAN_AGE}
    for instances in (INSTANCES, INSTANCES[:1], [refused]):
        answerer.answer([RowsRequest(len(instances), instances=instances)])
    writer.close()
    # A row without a prediction is not logged.
    assert writer.counts.logged == 4
    if as_parquet:
        convert(RequestLogConfig(str(tmp_path)))
    same = ReplaySession(str(tmp_path), "v2", model, model).update()
    assert same.replay == Replay(rows=4)
    # a is a smoker, twice; b has twins; c is equal.
    labels = LabelLosses({"b": 5.0, "c": 4.0})
    found = ReplaySession(str(tmp_path), "v2", model, Biased(model), losses=labels).update()
    assert found.replay == Replay(rows=4, differing=1, stable_only=2)
    assert found.losses.rows == 2
    # b is predicted as 1 + 1 + 3.8 - 2 = 3.8 pounds: 0.5 less is farther from 5 by 0.5, and c is as far as before.
    assert found.losses.mean == pytest.approx(0.25)
    assert ReplaySession(str(tmp_path), "v1", model, model).update().replay.rows == 0
