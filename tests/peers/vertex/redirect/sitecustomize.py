"""Sends what a task's process asks of Vertex AI to the test server that HEADRACE_TEST_VERTEX names.

Python imports this file by itself where its folder is on PYTHONPATH. The launchers of google-cloud-pipeline-components
have the service's address and credentials written into them: their client gets REST, no credentials and another
address, the requests that they make by themselves another address, and their polls another pause. Nothing else of
them is changed.
"""

import os
from collections.abc import Callable
from pathlib import Path


def _redirect(said: str) -> None:
    import google.auth
    import requests
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google_cloud_pipeline_components.container.v1.gcp_launcher import job_remote_runner, lro_remote_runner

    def url() -> str:
        # "@FILE" lets a process that lives longer than a server be told of the next one.
        return Path(said[1:]).read_text() if said.startswith("@") else said

    class Credentials(AnonymousCredentials):
        def __init__(self) -> None:
            super().__init__()
            self.token = "none"

        @property
        def valid(self) -> bool:
            return True

    real = aiplatform.gapic.JobServiceClient
    aiplatform.gapic.JobServiceClient = lambda *_, **__: real(
        transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": url()}
    )
    google.auth.default = lambda *_, **__: (Credentials(), "demo-project")
    job_remote_runner._POLLING_INTERVAL_IN_SECONDS = 0.01
    lro_remote_runner._POLLING_INTERVAL_IN_SECONDS = 0.01

    def redirected(send: Callable[..., object]) -> Callable[..., object]:
        def to_server(*positional: object, **request: object) -> object:
            address = str(request.get("url", ""))
            marker = "-aiplatform.googleapis.com/"
            if marker in address:
                request["url"] = f"{url()}/{address.partition(marker)[2]}"
            return send(*positional, **request)

        return to_server

    requests.get, requests.post = redirected(requests.get), redirected(requests.post)
    if said.startswith("@"):
        return
    aiplatform.init(
        project="demo-project",
        location="us-central1",
        api_endpoint=url(),
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )


if os.environ.get("HEADRACE_TEST_VERTEX"):
    _redirect(os.environ["HEADRACE_TEST_VERTEX"])
