"""Kubeflow Pipelines client: runs and schedules on a self-hosted cluster, by kfp.Client."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from headrace.core.errors import UsageError
from headrace.pipelines.submission.kubeflow import pods
from headrace.pipelines.submission.kubeflow.backend import check_backend
from headrace.pipelines.submission.kubeflow.connection import Connection
from headrace.pipelines.submission.kubeflow.errors import KubeflowNotFound
from headrace.pipelines.submission.outcome import GATE, refused_by_gate
from headrace.pipelines.submission.run import LogLine, PlatformRun, RunTask, Schedule, Submission
from headrace.pipelines.submission.tasks import leaves, names

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_PAGE = 100

_RUN_STATES = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELING": "cancelling",
    "CANCELED": "cancelled",
    "PAUSED": "paused",
}
_TASK_STATES = {**_RUN_STATES, "SKIPPED": "skipped", "CANCELING": "running"}


class KubeflowService:
    """Kubeflow Pipelines at one URL.

    Args:
        host: URL of its API, such as http://127.0.0.1:8888; "" for the cluster of this pod, or of kubectl.
        namespace: of the runs, on a cluster with several users; "" otherwise.
        token: bearer token; "" for none.
        service_account: Kubernetes service account of the tasks; "" for the cluster's default.
        experiment: of the runs.
    """

    name = "kubeflow"

    def __init__(
        self,
        host: str,
        *,
        namespace: str = "",
        token: str = "",
        service_account: str = "",
        experiment: str = "headrace",
    ) -> None:
        self._host, self._namespace = host, namespace
        self._service_account, self._experiment = service_account, experiment
        self._connection = Connection(host, namespace, token)

    def run_id(self, text: str) -> str:
        """Returns the text unchanged: a run may have any name."""
        return text

    def find(self, run_id: str) -> PlatformRun | None:
        """Finds a run by its name, or by the cluster's id; of several runs with one name, the first created."""
        with self._connection.asking(run_id):
            if not _UUID.match(run_id):
                named = self._named(run_id)
                if not named:
                    return None
                run_id = named[0].run_id
            try:
                with self._connection.asking(run_id):
                    return self._with_reasons(self._run(self._connection.client.get_run(run_id)))
            except KubeflowNotFound:
                return None

    def create(self, run_id: str, submission: Submission) -> PlatformRun:
        """Starts a run. The cluster allows duplicate names: of two concurrent runs, the first is kept."""
        with self._connection.asking(run_id), self._package(submission) as package:
            made = self._connection.client.run_pipeline(
                experiment_id=self._made_experiment(),
                job_name=run_id,
                pipeline_package_path=package,
                params=dict(submission.parameters),
                pipeline_root=submission.pipeline_root or None,
                service_account=submission.service_account or self._service_account or None,
            )
            first = self._named(run_id)[0]
            if first.run_id != made.run_id:
                self._connection.client.terminate_run(made.run_id)
                self._connection.client.archive_run(made.run_id)
            return self._run(self._connection.client.get_run(first.run_id))

    def runs(self, limit: int) -> list[PlatformRun]:
        """The newest runs of the experiment."""
        found: list[PlatformRun] = []
        token = ""
        with self._connection.asking("runs"):
            experiment = self._existing_experiment()
            while experiment is not None and len(found) < limit:
                page = self._connection.client.list_runs(
                    page_token=token,
                    page_size=min(_PAGE, limit),
                    sort_by="created_at desc",
                    experiment_id=experiment,
                )
                found += [self._run(one) for one in page.runs or []]
                token = page.next_page_token
                if not token:
                    break
            return found[:limit]

    def cancel(self, run: PlatformRun) -> None:
        """Requests the termination of a run."""
        with self._connection.asking(run.run_id):
            self._connection.client.terminate_run(run.reference)

    def logs(self, run: PlatformRun, task: str, after: str) -> Iterator[LogLine]:
        """Reads the logs of the tasks' pods, task by task, from the API server."""
        for name in leaves(run.spec):
            if name in run.tasks and task in ("", name):
                lines = pods.log_lines(run.tasks[name], self._logs_of(run, run.tasks[name]))
                yield from (line for line in lines if not after or line.when > after)

    def schedules(self) -> list[Schedule]:
        """The recurring runs of the experiment that have a cron expression."""
        found: list[Schedule] = []
        token = ""
        with self._connection.asking("schedules"):
            experiment = self._existing_experiment()
            while experiment is not None:
                page = self._connection.client.list_recurring_runs(
                    page_token=token, page_size=_PAGE, experiment_id=experiment
                )
                found += [_schedule(one) for one in page.recurring_runs or [] if one.trigger.cron_schedule]
                token = page.next_page_token
                if not token:
                    break
            return found

    def schedule(self, name: str, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Creates a recurring run, whose runs do not overlap.

        Raises:
            UsageError: a time zone other than UTC: the cluster has one for all schedules.
        """
        if timezone != "UTC":
            raise UsageError(
                "Kubeflow Pipelines has one time zone for all schedules",
                where="--timezone",
                expected="UTC; the controller's CRON_SCHEDULE_TIMEZONE applies instead, if set",
                received=timezone,
            )
        with self._connection.asking(name), self._package(submission) as package:
            made = self._connection.client.create_recurring_run(
                experiment_id=self._made_experiment(),
                job_name=name,
                # The first field is seconds.
                cron_expression=f"0 {cron}",
                max_concurrency=1,
                no_catchup=True,
                params=dict(submission.parameters),
                pipeline_package_path=package,
                pipeline_root=submission.pipeline_root or None,
                service_account=submission.service_account or self._service_account or None,
            )
            return _schedule(made)

    def change(self, schedule: Schedule, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Creates the new one, then deletes the old: the API has no update. For a moment both exist."""
        made = self.schedule(schedule.name, cron, timezone, submission)
        if schedule.state == "paused":
            self.set_paused(made, True)
        self.delete_schedule(schedule)
        return made

    def set_paused(self, schedule: Schedule, paused: bool) -> None:
        """Disables or enables a schedule; missed runs are not caught up."""
        with self._connection.asking(schedule.name):
            if paused:
                self._connection.client.disable_recurring_run(schedule.reference)
            else:
                self._connection.client.enable_recurring_run(schedule.reference)

    def delete_schedule(self, schedule: Schedule) -> None:
        """Deletes a recurring run."""
        with self._connection.asking(schedule.name), contextlib.suppress(KubeflowNotFound):
            self._connection.client.delete_recurring_run(schedule.reference)

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def _made_experiment(self) -> str:
        """The experiment's id; created if it does not exist."""
        made = self._connection.client.create_experiment(self._experiment, namespace=self._namespace or None)
        return str(made.experiment_id)

    def _existing_experiment(self) -> str | None:
        """The experiment's id, or None before the first run."""
        wanted = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": self._experiment}]}
        page = self._connection.client.list_experiments(filter=json.dumps(wanted), namespace=self._namespace or None)
        return str(page.experiments[0].experiment_id) if page.experiments else None

    @contextmanager
    def _package(self, submission: Submission) -> Iterator[str]:
        """Writes the spec to a file, as kfp.Client requires, if the backend takes it."""
        documents = [dict(one) for one in submission.documents]
        check_backend(self._connection.client._run_api.api_client, documents)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "pipeline.yaml"
            path.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
            yield str(path)

    def _named(self, name: str) -> list[Any]:
        """The runs of a name without archived ones, in the order of their creation."""
        wanted = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
        page = self._connection.client.list_runs(
            page_size=_PAGE,
            sort_by="created_at",
            namespace=self._namespace or None,
            filter=json.dumps(wanted),
        )
        return [one for one in page.runs or [] if one.storage_state != "ARCHIVED"]

    def _run(self, response: Any) -> PlatformRun:
        spec = response.pipeline_spec or {}
        spec = spec.get("pipeline_spec", spec)
        details = (response.run_details.task_details if response.run_details else None) or []
        return PlatformRun(
            run_id=response.display_name,
            state=_RUN_STATES.get(response.state or "PENDING", "waiting"),
            reference=response.run_id,
            page=f"{self._host}/#/runs/details/{response.run_id}",
            created=_seconds(response.created_at),
            finished=_seconds(response.finished_at),
            message=(response.error.message if response.error else "") or "",
            parameters=(response.runtime_config.parameters if response.runtime_config else None) or {},
            spec=spec,
            tasks=_tasks(details, names(spec)),
        )

    def _with_reasons(self, run: PlatformRun) -> PlatformRun:
        """Adds the reasons of failed tasks, and of a rejection by the gate, from their logs: the API gives none."""
        if not run.ended:
            return run
        telling = {GATE} if refused_by_gate(run) else set()
        tasks = {
            name: pods.with_reason(task, self._logs_of(run, task))
            if task.state == "failed" or name in telling
            else task
            for name, task in run.tasks.items()
        }
        return dataclasses.replace(run, tasks=tasks)

    def _logs_of(self, run: PlatformRun, task: RunTask) -> list[pods.PodLog]:
        return [log for node in task.jobs if (log := self._log_of(run, node)) is not None]

    def _log_of(self, run: PlatformRun, node: str) -> pods.PodLog | None:
        """The log of a node's pod; None if the server has none, or the node no pod."""
        for pod in pods.pod_names(node):
            with contextlib.suppress(KubeflowNotFound), self._connection.asking(f"the log of {pod}"):
                # kfp.Client has no method for logs; this is the request of the web interface.
                answer = self._connection.client._run_api.api_client.call_api(
                    "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log",
                    "GET",
                    path_params={"run_id": run.reference, "node_id": pod},
                    auth_settings=["Bearer"],
                    _preload_content=False,
                )
                log = pods.pod_log(answer.data.decode("utf-8", "replace"))
                if log is not None:
                    return log
        return None


def _tasks(details: list[Any], known: set[str]) -> dict[str, RunTask]:
    """The tasks of these names; other details are of drivers and attempts."""
    found: dict[str, RunTask] = {}
    details = sorted(details, key=lambda one: _seconds(one.create_time) or 0.0)
    nodes = pods.nodes_by_task(details)
    for detail in (one for one in details if one.display_name in known):
        found[detail.display_name] = RunTask(
            name=detail.display_name,
            state=_TASK_STATES.get(detail.state or "PENDING", "waiting"),
            started=_seconds(detail.start_time),
            finished=_seconds(detail.end_time),
            jobs=nodes.get(detail.display_name, ()),
        )
    return found


def _seconds(moment: Any) -> float | None:
    # An unset time is the year 1970, or missing.
    return moment.timestamp() if moment is not None and moment.year > 1970 else None


def _schedule(response: Any) -> Schedule:
    cron = response.trigger.cron_schedule.cron
    enabled = response.status == "ENABLED" or (response.status is None and response.mode == "ENABLE")
    return Schedule(
        name=response.display_name,
        state="active" if enabled else "paused",
        cron=cron.partition(" ")[2] if len(cron.split()) == 6 else cron,
        timezone="UTC",
        reference=response.recurring_run_id,
    )
