"""Launchers of google-cloud-pipeline-components in the test's own process: their imports take seconds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from peers.pipeline_engine import Call, TaskFailed
from peers.vertex import containers


def launch(call: Call, scratch: Path, url: str) -> Mapping[str, Any]:
    """Runs a task's launcher to its end, as its command says; only its client and its pause are others.

    Returns:
        The parameters that it gave.

    Raises:
        TaskFailed: it ended with another status than 0, or with an error.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google_cloud_pipeline_components.container.v1.gcp_launcher import job_remote_runner

    python, unbuffered, by_name, module, *arguments = containers.command(call, scratch)
    assert (python, unbuffered, by_name) == ("python3", "-u", "-m")
    real = aiplatform.gapic.JobServiceClient

    def client(*_: Any, **__: Any) -> Any:
        return real(transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})

    (scratch / call.task).mkdir(exist_ok=True)
    with (
        mock.patch.object(aiplatform.gapic, "JobServiceClient", client),
        mock.patch.object(job_remote_runner, "_POLLING_INTERVAL_IN_SECONDS", 0.01),
    ):
        try:
            importlib.import_module(module).main(arguments)
        except SystemExit as ended:
            if ended.code:
                raise TaskFailed(f"exited with a non-zero status of {ended.code}.") from ended
        except Exception as error:
            raise TaskFailed(f"exited with a non-zero status of 1. {type(error).__name__}: {error}") from error
    return containers.read_outputs(containers.executor_input(call, scratch))
