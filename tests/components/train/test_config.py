from __future__ import annotations

import pytest

from headrace.components.train.config import TrainConfig
from headrace.core.errors import UsageError
from headrace.core.problem import Training


def config(**changes: object) -> TrainConfig:
    return TrainConfig(**{"examples": "e", "output": "o", "identity": "0" * 16, **changes})  # type: ignore[arg-type]


def test_overrides_replace_what_the_problem_says() -> None:
    training = config(batch_size=8, steps=100, seed=7).apply_to(Training(batch_size=64, epochs=3, learning_rate=0.01))
    assert training == Training(batch_size=8, epochs=3, steps=100, learning_rate=0.01, seed=7)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"examples": ""}, "examples is empty"),
        ({"output": ""}, "output is empty"),
        ({"identity": "latest"}, "16 hexadecimal digits. Received: 'latest'"),
        ({"batch_size": 0}, "batch_size is wrong. Expected a whole number, 1 to 16777216. Received: 0"),
        ({"learning_rate": float("nan")}, "learning_rate is wrong. Expected in (0, 1]. Received: nan"),
    ],
)
def test_what_is_wrong_is_refused_at_once(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(**changes)
    assert said in caught.value.paragraph
