"""Deployment of the Cloud Function that is called for each object in a bucket."""

from __future__ import annotations

from headrace.pipelines.triggers.deployment.common import Deployment, command, variables, write_folder
from headrace.pipelines.triggers.storage_event import FINALIZED, StorageTrigger

ENTRY_POINT = "arrived"
_RUNTIME = "python312"
_MAIN = '''"""Cloud Function: triggers dynamic training for the spans that are complete in a bucket."""

import logging

from headrace.pipelines.triggers.function import arrived

__all__ = ["arrived"]

logging.basicConfig(level=logging.INFO)
'''


def write(folder: str, deployment: Deployment) -> None:
    """Writes main.py and requirements.txt.

    Raises:
        UsageError: an existing file was not written by an earlier call, or the folder cannot be written.
    """
    write_folder(
        folder,
        {"main.py": _MAIN, "requirements.txt": deployment.requirements("beam", "kubeflow", "triggers", "vertex")},
    )


def commands(folder: str, deployment: Deployment, options: StorageTrigger) -> list[str]:
    """The command lines that set up and deploy the function, in order.

    Args:
        folder: the folder that `write` wrote.
        deployment: project, region, name and account.
        options: options of the function.
    """
    project, region, bucket = deployment.project, deployment.region, options.spans.split("/", 3)[2]
    return [
        deployment.services("cloudfunctions", "run", "eventarc", "pubsub", "cloudbuild", "artifactregistry"),
        *deployment.rights([options.spans]),
        "# Eventarc calls the function as this account.",
        deployment.on_project(project, "eventarc.eventReceiver"),
        deployment.on_project(project, "run.invoker"),
        "# Cloud Storage publishes the events of its buckets as its own agent.",
        f"AGENT=$({command('storage', 'service-agent', project=project)})",
        command("projects", "add-iam-policy-binding", project, role="roles/pubsub.publisher", condition="None")
        + ' --member="serviceAccount:$AGENT"',
        "# --trigger-location: that of the bucket, such as eu for a bucket in several regions of Europe.",
        f"LOCATION=$({command('storage', 'buckets', 'describe', f'gs://{bucket}', format='value(location)')})",
        command(
            "functions",
            "deploy",
            deployment.name,
            gen2="",
            project=project,
            region=region,
            runtime=_RUNTIME,
            source=folder,
            entry_point=ENTRY_POINT,
            service_account=deployment.email,
            trigger_service_account=deployment.email,
            trigger_event_filters=f"type={FINALIZED},bucket={bucket}",
            # A failed event is retried for 24 hours.
            retry="",
            memory="2Gi",
            timeout="540s",
            max_instances="10",
            set_env_vars=variables(options.variables),
        )
        + ' --trigger-location="${LOCATION,,}"',
    ]
