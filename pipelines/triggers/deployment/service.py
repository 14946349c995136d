"""Deployment of the HTTP service on Cloud Run or App Engine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from headrace.pipelines.triggers.deployment.common import Deployment, command, write_folder

Host = Literal["cloud-run", "app-engine"]
_PYTHON = "3.12"


@dataclass(frozen=True)
class ServiceDeployment:
    """The service on Google Cloud.

    Args:
        deployment: project, region, name and account.
        host: "cloud-run" or "app-engine".
        audience: audience of accepted ID tokens; "" accepts none.
        iap_audience: audience of accepted assertions of Identity-Aware Proxy; "" accepts none.
        allow: e-mail addresses of the accounts that may use the service.
        data_below: URIs or folders below which data may be announced.
    """

    deployment: Deployment
    host: Host
    audience: str
    iap_audience: str
    allow: Sequence[str]
    data_below: Sequence[str] = field(default=())

    def write(self, folder: str) -> None:
        """Writes requirements.txt, and Procfile or app.yaml.

        Raises:
            UsageError: an existing file was not written by an earlier call, or the folder cannot be written.
        """
        start = shlex.join(["headrace", "trigger", "serve", *self._options()]) + " --host 0.0.0.0 --port $PORT"
        files = {"requirements.txt": self.deployment.requirements("beam", "kubeflow", "triggers", "vertex")}
        if self.host == "cloud-run":
            files["Procfile"] = f"web: {start}\n"
        else:
            files["app.yaml"] = (
                f"runtime: python{_PYTHON.replace('.', '')}\nservice: {self.deployment.name}\nentrypoint: {start}\n"
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
        """The command lines that set up and deploy the service, in order.

        Args:
            folder: the folder that `write` wrote.
        """
        where = self.deployment
        data = [place for place in self.data_below if place.startswith("gs://")]
        lines = [where.services("cloudbuild", "artifactregistry", "run" if self.host == "cloud-run" else "appengine")]
        lines += where.rights(data)
        if self.host == "app-engine":
            deploy = command("app", "deploy", f"{folder.rstrip('/')}/app.yaml", project=where.project)
            return [*lines, deploy, *self._browsers()]
        return [
            *lines,
            "# The service verifies tokens itself, against its allow-list. Where Cloud Run verifies them first, it",
            "# removes their signatures, so that nobody behind it can verify them any more.",
            command(
                # `beta`, because not all releases of `gcloud run deploy` have `--iap`.
                *(("beta",) if self.iap_audience else ()),
                "run",
                "deploy",
                where.name,
                project=where.project,
                region=where.region,
                source=folder,
                service_account=where.email,
                allow_unauthenticated="",
                set_build_env_vars=f"GOOGLE_PYTHON_VERSION={_PYTHON}.x",
                memory="2Gi",
                max_instances="2",
                timeout="180s",
                **({"iap": ""} if self.iap_audience else {}),
            ),
            *self._browsers(),
        ]

    def _browsers(self) -> list[str]:
        """The commands that allow the accounts to pass Identity-Aware Proxy."""
        if not self.iap_audience:
            return []
        where, engine = self.deployment, self.host == "app-engine"
        place: dict[str, str] = {"resource_type": self.host}
        lines = [command("iap", "web", "enable", **place, project=where.project)] if engine else []
        place |= {} if engine else {"service": where.name, "region": where.region}
        return lines + [
            command(
                *(() if engine else ("beta",)),
                *("iap", "web", "add-iam-policy-binding"),
                **place,
                project=where.project,
                member=f"{'serviceAccount' if account.endswith('.gserviceaccount.com') else 'user'}:{account}",
                role="roles/iap.httpsResourceAccessor",
                condition="None",
            )
            for account in self.allow
        ]
