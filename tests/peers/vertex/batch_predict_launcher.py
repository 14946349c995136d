"""Runs the launcher of google-cloud-pipeline-components' ModelBatchPredictOp against a test server.

    python batch_predict_launcher.py URL [ARGUMENTS OF THE CONTAINER]

The launcher has no option for another server: its client is given REST, no credentials and the address here.
"""

from __future__ import annotations

import sys
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google_cloud_pipeline_components.container.v1.batch_prediction_job import launcher
from google_cloud_pipeline_components.container.v1.gcp_launcher import job_remote_runner


def main(url: str, arguments: list[str]) -> None:
    """Runs the launcher to its end."""
    real = aiplatform.gapic.JobServiceClient

    def client(*_: Any, **__: Any) -> Any:
        return real(transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})

    aiplatform.gapic.JobServiceClient = client
    job_remote_runner._POLLING_INTERVAL_IN_SECONDS = 0.05
    launcher.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
