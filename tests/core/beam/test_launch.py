"""A pipeline's error on this machine is the error of its transform."""

from __future__ import annotations

import apache_beam as beam
import pytest

from headrace.core.beam import launch
from headrace.core.beam.runners import DirectRunner
from headrace.core.errors import DataError, HeadraceError, PlatformError


def _fail(kind: type[HeadraceError]) -> None:
    raise kind("it failed", where="a/b", expected="e", received="[Errno 28] No space left on device", fix="f")


@pytest.mark.parametrize("kind", [PlatformError, DataError])
def test_an_error_that_passes_through_beam_keeps_all_its_parts(kind: type[HeadraceError]) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([kind]) | "fail" >> beam.Map(_fail)

    with pytest.raises(kind) as raised:
        launch.run(build, DirectRunner(), "job", "test", lambda *_, **__: None)
    assert type(raised.value) is kind
    assert str(raised.value) == "a/b: it failed. Expected e. Received: [Errno 28] No space left on device. f."
