"""The peers that tests run against, a tiny Model, and the profiles of property tests."""

from __future__ import annotations

import os

import pytest
from peers.bigquery import bigquery, bigquery_server, make_table
from peers.cloud_storage import bucket, cloud_storage, put
from peers.container_engine import engine, image
from peers.kafka import kafka
from peers.pubsub import make_topic, pubsub_server
from peers.s3 import put_object, s3_bucket, s3_client, s3_environment, s3_server, store
from peers.vertex.fixture import launching, vertex_server
from support import workers
from support.fuzzing import register_profiles
from support.natality import fetch_births
from support.tiny_model import make_model, tiny_saved_model

__all__ = [
    "bigquery",
    "bigquery_server",
    "bucket",
    "cloud_storage",
    "engine",
    "image",
    "kafka",
    "launching",
    "make_model",
    "make_table",
    "make_topic",
    "pubsub_server",
    "put",
    "put_object",
    "s3_bucket",
    "s3_client",
    "s3_environment",
    "s3_server",
    "store",
    "tiny_saved_model",
    "vertex_server",
]

register_profiles()


def pytest_configure(config: pytest.Config) -> None:
    # Before modules are collected, which read it; workers start after the process that starts them is configured.
    if not hasattr(config, "workerinput"):
        try:
            fetch_births()
        except RuntimeError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Processes for `--numprocesses auto`: a machine of 8 cores and 8 GB runs out of memory with 8 of them."""
    import psutil
    from xdist import plugin

    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    cores = plugin.pytest_xdist_auto_num_workers(config)
    return workers.number_of_workers(cores, workers.available_bytes(psutil.virtual_memory().available))
