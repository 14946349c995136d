"""Registered Models with their events, for the tests of stream scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.http_server import Served
from support.serving import dynamic
from support.stream_models import StreamModels

from headrace.components.stream.models.load import LoadedModel, load_model


@pytest.fixture(scope="module")
def stream_models(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> StreamModels:
    """Makes registered Models with their events."""
    return StreamModels(tmp_path_factory.mktemp("models"), make_model)


@pytest.fixture(scope="module")
def loaded(stream_models: StreamModels) -> LoadedModel:
    """The tiny Model, loaded from its event of epoch 3."""
    event = stream_models.event("loaded", 3)
    return LoadedModel(event, load_model(event))


@pytest.fixture(scope="module")
def url(loaded: LoadedModel) -> Iterator[str]:
    """The endpoint of the loaded Model."""
    served = Served(dynamic(loaded.model))
    yield f"http://127.0.0.1:{served.port}/v1/models/{loaded.model.name}:predict"
    served.stop()
    served.join()
