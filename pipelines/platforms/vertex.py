"""Vertex AI platform: custom jobs, Dataflow, the Model Registry and endpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from headrace.components.score.options import JobOptions
from headrace.core.beam.dataflow import DataflowRunner
from headrace.core.errors import UsageError
from headrace.pipelines.platforms import vertex_jobs, vertex_rules
from headrace.pipelines.platforms.images import Images, Role, is_ours, role_of
from headrace.pipelines.platforms.options import as_json
from headrace.pipelines.platforms.renewal import may_replay, renewed
from headrace.pipelines.platforms.vertex_options import TaskOptions, VertexOptions

# These run as separate jobs; the machine of the task that starts such a job cannot be chosen.
_JOBS = ("train", "tune")


class VertexPlatform:
    """Compiles for Vertex AI Pipelines.

    Args:
        images: of tasks.
        options: of Vertex AI.

    Raises:
        UsageError: the service would reject or ignore an option.
    """

    name = "vertex"
    resolves = True

    def __init__(self, images: Images, options: VertexOptions) -> None:
        self._images = images
        self._options = options
        self._dataflow = _dataflow(images, options)
        self._job = _job(options)
        self.approach = "" if self._job is None else "job"

    @property
    def doubts(self) -> list[vertex_rules.BrokenRule]:
        """Regions and machine types that the tables do not have."""
        return self._options.doubts()

    def component(self, component: Any) -> Any:
        """Makes training a custom job; other components do not change.

        The job's workers have headrace's image and the component's command. Each worker runs the same, with the
        cluster in CLUSTER_SPEC; only the first one writes.

        Raises:
            UsageError: google-cloud-pipeline-components is not installed.
        """
        role = role_of(component.component_spec.name)
        if role != "train":
            return component
        options = self._options
        job = vertex_jobs.custom_job(component, role, self._images.of(role), options, _step_label(role))
        return vertex_jobs.calling(job, location=options.location)

    def configure_task(self, task: Any, *, cache: bool = True) -> Any:
        """Sets image, CPU, memory, accelerator, retries and caching; a separate job has them in its request."""
        if not is_ours(task):
            return task
        role = role_of(task.name)
        options = self._options.tasks.get(role, TaskOptions())
        # A component of training that the user calls as it is, is a task like the others.
        if role in _JOBS and "worker_pool_specs" in task.component_spec.inputs:
            training = self._options.training
            retries = training.retries if role == "train" else self._options.tuning.retries
            return self._place_launcher(task, retries, cache=cache and training.cache)
        task.set_container_image(self._images.of(role, replays=may_replay(self._options.endpoint)))
        if options.cpu:
            task.set_cpu_limit(str(options.cpu))
        if options.memory:
            task.set_memory_limit(options.memory)
        if options.accelerator:
            task.set_accelerator_type(options.accelerator).set_accelerator_limit(options.accelerator_count)
        if options.retries:
            task.set_retry(options.retries, backoff_duration="30s", backoff_factor=2.0)
        return task.set_caching_options(cache and options.cache)

    def tune(
        self,
        *,
        problem: Any,
        tuning_digest: Any,
        root: Any,
        examples: Any,
        trials: Any,
        parallel: Any,
        training: Any,
        attempt: Any,
    ) -> Any:
        """Adds a task that prepares the study, a hyperparameter tuning job, and one that publishes the best Model."""
        from headrace.components.tune.vertex.component import best, study, trial

        options, of_file = self._options, {"problem": problem, "tuning_digest": tuning_digest, "root": root}
        of_trial = {**of_file, "examples": examples, "training": training}
        algorithm = options.tuning.service_algorithm
        planned = self.configure_task(
            study(**of_trial, trials=trials, parallel=parallel, algorithm=algorithm, attempt=attempt)
        )
        search = planned.outputs["search"]
        job = vertex_jobs.tuning_job(trial, self._images.of("tune"), options, _step_label("tune"))
        searched = job(
            **of_trial,
            search=search,
            base_output_directory=planned.outputs["folder"],
            study_spec_parameters=planned.outputs["parameters"],
            max_trial_count=planned.outputs["trials"],
            parallel_trial_count=parallel,
        )
        chosen = best(
            **of_file,
            trials=trials,
            search=search,
            gcp_resources=self.configure_task(searched).outputs["gcp_resources"],
            project=options.project,
            location=options.location,
        )
        # It also runs after a failed job, to report the cause.
        return self.configure_task(chosen).ignore_upstream_failure().outputs["model"]

    def beam(self) -> str:
        """Dataflow, if configured."""
        return "" if self._dataflow is None else as_json(self._dataflow, name=self._dataflow.name)

    def resolve(self, **inputs: Any) -> Mapping[str, Any]:
        """Adds a task that looks up models in the Model Registry, and measures the data."""
        from headrace.components.registry.vertex.component import resolve

        outputs: Mapping[str, Any] = self.configure_task(resolve(**inputs), cache=False).outputs
        return outputs

    def champion(self, **inputs: Any) -> Any:
        """Adds a task that looks up the champion in the Model Registry: its URI and its name are outputs."""
        from headrace.components.registry.vertex.component import champion

        return self.configure_task(champion(**inputs), cache=False).outputs

    def score(self, *, champion: Any, **inputs: Any) -> Any:
        """Adds one task; with batch prediction jobs, one to prepare, the job, and one to collect its results."""
        from headrace.components.score.component import score

        if self._job is None:
            return self.configure_task(score(model=champion["model"], **inputs))
        from kfp import dsl

        from headrace.components.score.vertex_job.batch_predict.component import batch_predict
        from headrace.components.score.vertex_job.component import prepare

        prepare_inputs = {name: value for name, value in inputs.items() if name in prepare.component_spec.inputs}
        prepared = self.configure_task(
            prepare(
                model=champion["model"],
                registered=champion["registered"],
                labels=_step_label("score"),
                options=as_json(self._job, without="model"),
                **prepare_inputs,
            )
        ).outputs
        inputs |= {"approach": self.approach, "job": prepared["job"], "endpoint": "", "runner": ""}
        with dsl.If(prepared["has_rows"] == True, name="rows"):  # noqa: E712 - kfp compiles the comparison
            ran = batch_predict(prepared, self._job, encryption_key=self._options.encryption_key)
            self._place_launcher(ran, self._options.tasks.get("score", TaskOptions()).retries)
            by_job = self.configure_task(score(model=champion["model"], **inputs)).after(ran)
        with dsl.Else(name="no-rows"):
            # Without a job: rows that none is sent are in quarantine.
            without = self.configure_task(score(model=champion["model"], **inputs))
        return SimpleNamespace(
            outputs={"predictions": dsl.OneOf(by_job.outputs["predictions"], without.outputs["predictions"])}
        )

    def _place_launcher(self, task: Any, retries: int, *, cache: bool = True) -> Any:
        """Sets up a task of google-cloud-pipeline-components that starts a job and waits for it."""
        if self._options.launcher_image:
            task.set_container_image(self._options.launcher_image)
        if retries:
            task.set_retry(retries, backoff_duration="60s", backoff_factor=2.0)
        return task.set_caching_options(cache)

    def register(self, *, registry: Any, root: Any, model: Any, evaluation: Any, **claimed: Any) -> Any:
        """Registers a version in the Model Registry, with aliases, under its parent model; `claimed` as of `deploy`."""
        from headrace.components.registry.vertex.component import register

        task = register(
            registry=registry,
            root=root,
            model=model,
            evaluation=evaluation,
            serving_image=self._images.serve,
            aliases=list(self._options.endpoint.aliases),
            labels=self._labels("register"),
            encryption_key=self._options.encryption_key,
            rules=self._options.endpoint.rules,
            **claimed,
            **({"traffic_log": log} if (log := self._options.endpoint.traffic_log) else {}),
            **({"request_log": log} if (log := self._options.endpoint.request_log) else {}),
            **({"serving": mode.to_json()} if (mode := self._options.endpoint.serving) is not None else {}),
        )
        return self.configure_task(task, cache=False).output

    def renew(
        self, *, claim: Any, canary: Any, watch_by_ticks: Any, log_share: Any, endpoint: Any, **inputs: Any
    ) -> Any:
        """Registers and deploys a version, with the traffic of the options or by a canary whose steps run in ticks."""
        del watch_by_ticks, log_share
        registered = self.register(**inputs, claim=claim)
        places = {name: inputs[name] for name in ("model", "registry", "root")}
        return renewed(
            self,
            self._options.endpoint,
            registered=registered,
            claim=claim,
            canary=canary,
            endpoint=endpoint,
            **places,
        )

    def deploy(self, *, registered: Any, endpoint: Any, root: Any, **claimed: Any) -> Any:
        """Deploys with a given percentage of the traffic; `claimed` has the claim of a run of dynamic training."""
        from headrace.components.deploy.vertex.component import deploy

        options = self._options.endpoint
        task = deploy(
            model=registered,
            endpoint=endpoint,
            root=root,
            machine_type=options.machine_type,
            traffic=options.traffic,
            min_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            labels=self._labels("deploy"),
            accelerator=options.accelerator,
            accelerator_count=options.accelerator_count,
            service_account=self._options.service_account,
            encryption_key=self._options.encryption_key,
            timeout_minutes=options.timeout_minutes,
            **({"dedicated": True, "inference_timeout_s": options.inference_timeout_s} if options.dedicated else {}),
            **claimed,
        )
        return self.configure_task(task, cache=False)

    def _labels(self, role: Role) -> dict[str, str]:
        return {**_step_label(role), **self._options.labels}


def _step_label(role: Role) -> dict[str, str]:
    """Label of a job whose task may be cached: the job gets the user's labels from its run, which has them all."""
    return {"headrace-step": role}


def resource_name(options: VertexOptions, collection: str, problem: str) -> str:
    """Resource name of a problem's entry in the registry, or of its endpoint, for the pipeline's parameters.

    Args:
        options: project and location.
        collection: "models" or "endpoints".
        problem: the problem's name.

    Raises:
        UsageError: the service does not accept the name.
    """
    name = problem.replace("_", "-")
    if name.endswith("-"):
        raise vertex_rules.refuse("endpoint_id", "the problem's name is not valid on Vertex AI", repr(problem))
    return f"projects/{options.project}/locations/{options.location}/{collection}/{name}"


def _job(options: VertexOptions) -> JobOptions | None:
    """Options of batch prediction jobs, without the model, which a run looks up."""
    table = options.batch_prediction
    if table is None:
        return None
    try:
        return JobOptions(
            project=options.project,
            region=options.location,
            model=resource_name(options, "models", "any"),
            service_account=options.service_account,
            **dataclasses.asdict(table),
        )
    except UsageError as error:
        raise error.at("[vertex.batch_prediction]") from error.__cause__


def _dataflow(images: Images, options: VertexOptions) -> DataflowRunner | None:
    table = options.dataflow
    if table is None:
        return None
    try:
        return DataflowRunner(
            project=options.project,
            region=options.location,
            sdk_container_image=images.worker_of(DataflowRunner.name),
            service_account=options.service_account,
            labels={"headrace-step": "beam"},
            **dataclasses.asdict(table),
        )
    except UsageError as error:
        error.where = f"[vertex.dataflow], {error.where}"
        raise
