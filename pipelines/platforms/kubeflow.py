"""Kubeflow platform, self-hosted: pods with devices, a registry folder, KServe, and Beam on Flink or Spark."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

from headrace.core.beam.runners import RunnerOptions, runner_options
from headrace.core.errors import UsageError
from headrace.pipelines.platforms.folder_registry import FolderRegistry
from headrace.pipelines.platforms.images import Images, is_ours, role_of
from headrace.pipelines.platforms.kubeflow_options import KubeflowOptions, PodOptions
from headrace.pipelines.platforms.options import as_json
from headrace.pipelines.platforms.renewal import may_replay, renewed


class KubeflowPlatform(FolderRegistry):
    """Compiles for self-hosted Kubeflow Pipelines, where the registry is a folder of the claim.

    Args:
        images: of tasks.
        options: of the cluster.

    Raises:
        UsageError: kfp-kubernetes is not installed, or the cluster would reject or ignore an option.
    """

    name = "kubeflow"

    def __init__(self, images: Images, options: KubeflowOptions) -> None:
        self._images = images
        self._options = options
        self._kubernetes = _kfp_kubernetes()
        self._runner = _runner(images, options)

    def component(self, component: Any) -> Any:
        """Returns the component unchanged: training is a pod like the others."""
        return component

    def configure_task(self, task: Any, *, cache: bool = True) -> Any:
        """Sets image, resources, device, node, secrets, claim, retries, timeout, labels and caching."""
        if not is_ours(task):
            return task
        kubernetes, options = self._kubernetes, self._options
        role = role_of(task.name)
        pod = options.tasks.get(role, PodOptions())
        task.set_container_image(self._images.of(role, replays=may_replay(self._options.endpoint)))
        if pod.cpu:
            task.set_cpu_request(pod.cpu).set_cpu_limit(pod.cpu)
        if pod.memory:
            task.set_memory_request(pod.memory).set_memory_limit(pod.memory)
        if pod.accelerator:
            task.set_accelerator_type(pod.accelerator).set_accelerator_limit(pod.accelerator_count)
        for name, value in sorted({**options.environment, **pod.environment}.items()):
            task.set_env_variable(name, value)
        if pod.retries:
            task.set_retry(pod.retries, backoff_duration="30s", backoff_factor=2.0)
        for key, value in sorted(pod.node_selector.items()):
            kubernetes.add_node_selector(task, key, value)
        for toleration in pod.tolerations:
            kubernetes.add_toleration(task, **toleration.to_kubernetes())
        if pod.timeout_minutes:
            kubernetes.set_timeout(task, pod.timeout_minutes * 60)
        kubernetes.set_image_pull_policy(task, options.image_pull_policy)
        if options.image_pull_secrets:
            kubernetes.set_image_pull_secrets(task, list(options.image_pull_secrets))
        for secret in options.secrets:
            kubernetes.use_secret_as_env(task, secret.name, dict(secret.keys))
        if options.claim is not None:
            kubernetes.mount_pvc(task, options.claim.name, options.claim.mount)
        for key, value in sorted(options.labels.items()):
            kubernetes.add_pod_label(task, key, value)
        return task.set_caching_options(cache and pod.cache)

    def tune(self, **inputs: Any) -> Any:
        """Runs the search in one pod, whose trials are processes."""
        from headrace.components.tune.component import tune

        return self.configure_task(tune(**inputs)).outputs["model"]

    @property
    def decided_by_canary(self) -> bool:
        """Whether a registered version, which is deployed without traffic, becomes the champion by a canary."""
        return self._options.endpoint.traffic == 0

    def beam(self) -> str:
        """Flink or Spark, if configured."""
        return "" if self._runner is None else as_json(self._runner, name=self._runner.name)

    def deploy(self, *, registered: Any, endpoint: Any, root: Any, **claimed: Any) -> Any:
        """Deploys an InferenceService with headrace's server; `claimed` has the claim of a run of dynamic training."""
        from headrace.components.deploy.kserve.component import deploy

        task = deploy(model=registered, endpoint=endpoint, root=root, settings=self._serving(), **claimed)
        return self.configure_task(task, cache=False)

    def renew(
        self, *, claim: Any, canary: Any, watch_by_ticks: Any, log_share: Any, endpoint: Any, **inputs: Any
    ) -> Any:
        """Registers and deploys a version, with the traffic of the options or by a canary whose steps run in ticks."""
        del watch_by_ticks, log_share
        registered = self.register(**inputs, claim=claim, promote=not self.decided_by_canary)
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

    def _serving(self) -> dict[str, Any]:
        """Fields of `kserve.InferenceServiceConfig`."""
        options = self._options
        config = {known.name: getattr(options.endpoint, known.name) for known in dataclasses.fields(options.endpoint)}
        serving = config.pop("serving")
        for log in ("traffic_log", "request_log"):
            if not config[log]:
                del config[log]
        return {
            **config,
            **({} if serving is None else {"serving": serving.to_json()}),
            "node_selector": dict(options.endpoint.node_selector),
            "tolerations": [toleration.to_kubernetes() for toleration in options.endpoint.tolerations],
            "image": self._images.serve,
            "image_pull_policy": options.image_pull_policy,
            "image_pull_secrets": list(options.image_pull_secrets),
            "labels": dict(options.labels),
            "claim": options.claim.name if options.claim is not None else "",
            "mount": options.claim.mount if options.claim is not None else "",
        }


def _runner(images: Images, options: KubeflowOptions) -> RunnerOptions | None:
    table = options.beam
    if table is None:
        return None
    config = table.environment_config
    if table.environment_type == "DOCKER" and not config:
        config = images.worker_of(table.runner)
    try:
        return runner_options(
            table.runner,
            {
                "job_endpoint": table.job_endpoint,
                "environment_type": table.environment_type,
                "environment_config": config,
                **({"beam_options": dict(table.beam_options)} if table.beam_options else {}),
            },
        )
    except UsageError as error:
        error.where = f"[kubeflow.beam], {error.where}"
        raise


def _kfp_kubernetes() -> ModuleType:
    try:
        from kfp import kubernetes
    except ImportError as error:
        raise UsageError(
            "kfp-kubernetes is not installed",
            where="--platform kubeflow",
            fix="Install it: pip install 'headrace[kubeflow]'",
        ) from error
    module: ModuleType = kubernetes
    return module
