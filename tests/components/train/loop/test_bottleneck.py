from __future__ import annotations

import pytest

from headrace.components.train.loop.bottleneck import bound_of

USUAL = {"input_share": 0.1, "cache": "memory", "device": "GPU", "precision": "float32", "xla": False, "batch_size": 64}


@pytest.mark.parametrize(
    ("measured", "by", "text"),
    [
        (
            {},
            "compute",
            (
                "bound by compute: 10% of the time waiting for input; what would help: a larger batch_size than 64, or "
                "--precision mixed_bfloat16, or --xla"
            ),
        ),
        (
            {"precision": "mixed_bfloat16", "xla": True, "batch_size": 4096},
            "compute",
            "bound by compute: 10% of the time waiting for input",
        ),
        (
            {"device": "CPU", "batch_size": 512},
            "compute",
            (
                "bound by compute: 10% of the time waiting for input; what would help: a GPU, which is faster for "
                "models of more than a few hundred thousand parameters, or --xla"
            ),
        ),
        (
            {"input_share": 0.6},
            "input",
            (
                "bound by input: 60% of the time waiting for input; what would help: a larger batch_size than 64, or "
                "more cores"
            ),
        ),
        (
            {"input_share": 0.6, "cache": "disk", "device": "CPU", "batch_size": 1024},
            "input",
            "bound by input: 60% of the time waiting for input; what would help: more memory: rows are read from disk",
        ),
        (
            {"input_share": 0.25, "cache": "none"},
            "memory",
            (
                "bound by memory: 25% of the time waiting for input; what would help: more memory or a larger local "
                "disk: the rows fit in neither and are parsed again in each epoch"
            ),
        ),
    ],
)
def test_what_bounds_a_training(measured: dict[str, object], by: str, text: str) -> None:
    found = bound_of(**{**USUAL, **measured})  # type: ignore[arg-type]
    assert found.to_json() == {"by": by, "text": text}
