"""Deployment of the HTTP service on Cloud Run or App Engine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from headrace.core.errors import UsageError
from headrace.pipelines.triggers.deployment.common import Deployment, command, write_folder

Host = Literal["cloud-run", "app-engine"]
_RUNTIME = "python312"


@dataclass(frozen=True)
class ServiceDeployment:
    """The service on Google Cloud.

    Args:
        deployment: where, and by which account.
        host: "cloud-run" or "app-engine".
        audience: that ID tokens are made for; "" accepts none.
        iap_audience: that assertions of Identity-Aware Proxy are made for; "" accepts none.
        allow: e-mail addresses of the accounts that may use it.
        data_below: places below which data may be announced.
    """

    deployment: Deployment
    host: Host
    audience: str
    iap_audience: str
    allow: Sequence[str]
    data_below: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.host == "app-engine" and self.deployment.settings.platform == "local":
            raise UsageError("App Engine starts no runs on itself")

    def write(self, folder: str) -> None:
        """Writes requirements.txt, and Procfile or app.yaml.

        Raises:
            UsageError: a file there is not of an earlier call, or the folder cannot be written.
        """
        start = shlex.join(["headrace", "trigger", "serve", *self._options()]) + " --host 0.0.0.0 --port $PORT"
        files = {"requirements.txt": self.deployment.requirements("beam", "kubeflow", "triggers", "vertex")}
        if self.host == "cloud-run":
            files["Procfile"] = f"web: {start}\n"
        else:
            files["app.yaml"] = (
                f"runtime: {_RUNTIME}\nservice: {self.deployment.name}\nentrypoint: {start}\n"
                f"service_account: {self.deployment.email}\ninstance_class: F4\n"
                "automatic_scaling:\n  max_instances: 2\n"
            )
        write_folder(folder, files)

    def _options(self) -> list[str]:
        named = [("--settings", self.deployment.settings.uri)]
        named += [("--audience", self.audience)] if self.audience else []
        named += [("--iap-audience", self.iap_audience)] if self.iap_audience else []
        named += [("--allow", each) for each in self.allow] + [("--data-below", each) for each in self.data_below]
        return [word for pair in named for word in pair]

    def commands(self, folder: str) -> list[str]:
        """The lines that set up and deploy the service, in their order."""
        where = self.deployment
        data = [place for place in self.data_below if place.startswith("gs://")]
        lines = [where.services("cloudbuild", "artifactregistry", "run" if self.host == "cloud-run" else "appengine")]
        lines += where.rights(data)
        if self.host == "app-engine":
            return [*lines, command("app", "deploy", f"{folder.rstrip('/')}/app.yaml", project=where.project)]
        return [
            *lines,
            "# The service verifies tokens itself, against its allow-list. Where Cloud Run verifies them first, it",
            "# removes their signatures, so that nobody behind it can verify them any more.",
            command(
                "run",
                "deploy",
                where.name,
                project=where.project,
                region=where.region,
                source=folder,
                service_account=where.email,
                allow_unauthenticated="",
                memory="2Gi",
                max_instances="2",
                timeout="180s",
                **({"iap": ""} if self.iap_audience else {}),
            ),
        ]
