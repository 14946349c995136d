"""Kubeflow options, which check themselves by the rules of Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.deploy.kserve.service import KNATIVE, MODES, mode_of
from headrace.core.errors import UsageError
from headrace.core.rules.mode import check_mode
from headrace.core.serving_mode import Serving
from headrace.pipelines.platforms.images import ROLES, VERTEX_ALONE
from headrace.pipelines.platforms.options import check, check_serving

# Kubernetes treats a limit of zero as none.
_QUANTITY = re.compile(r"(?=[0-9.]*[1-9])[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?\Z")
_CPU = re.compile(r"(?=[0-9.]*[1-9])[0-9]+(\.[0-9]+)?m?\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_EXTENDED = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Everyone who may read a pipeline's spec could read them.
_SECRETS = frozenset({"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute", "")
_POLICIES = ("Always", "IfNotPresent", "Never")


@dataclass(frozen=True)
class Toleration:
    """A toleration of a taint.

    Attributes:
        key, value: of the taint; an empty key matches every taint.
        operator: Equal or Exists.
        effect: NoSchedule, PreferNoSchedule, NoExecute, or "" for all effects.
    """

    key: str = ""
    value: str = ""
    operator: str = "Equal"
    effect: str = ""

    def __post_init__(self) -> None:
        check(
            self.operator in ("Equal", "Exists"),
            "operator is not valid",
            expected="Equal or Exists",
            received=self.operator,
        )
        check(self.effect in _EFFECTS, "effect is not valid", expected=", ".join(_EFFECTS[:3]), received=self.effect)
        check(
            bool(self.key) or self.operator == "Exists",
            "a toleration without a key tolerates nothing",
            expected='operator = "Exists" for an empty key: Kubernetes rejects others',
            received=self.operator,
        )
        check(
            not (self.value and self.operator == "Exists"),
            "Exists does not accept a value",
            expected="no value: Kubernetes rejects one",
            received=self.value,
        )

    def to_kubernetes(self) -> dict[str, str]:
        """The toleration in the form of a pod's spec."""
        all_of_it = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        return {name: value for name, value in all_of_it.items() if value}


@dataclass(frozen=True)
class Secret:
    """A secret of the namespace, as environment variables of a task.

    Attributes:
        name: of the secret.
        keys: name of the variable by key of the secret.
    """

    name: str
    keys: Mapping[str, str]

    def __post_init__(self) -> None:
        check(
            bool(_NAME.match(self.name)),
            "a secret's name is not valid",
            expected="a-z, 0-9, - and .",
            received=self.name,
        )
        wrong = [variable for variable in self.keys.values() if not _VARIABLE.match(variable)]
        check(
            bool(self.keys) and not wrong,
            "a secret's variables are not valid",
            expected="KEY = VARIABLE, in letters, digits and _",
            received=wrong or "none",
        )


@dataclass(frozen=True)
class PodOptions:
    """The pod of a task.

    Attributes:
        cpu, memory: request and limit, such as "2" and "8Gi"; "" for the cluster's defaults.
        accelerator, accelerator_count: a resource such as nvidia.com/gpu, and the number of devices.
        node_selector: labels of the nodes.
        tolerations: of taints.
        retries: maximum retries of a failed task.
        timeout_minutes: maximum time of the pod, in minutes; 0 for no limit.
        cache: whether outputs of an earlier run with the same inputs are reused.
        environment: environment variables of the task.
    """

    cpu: str = ""
    memory: str = ""
    accelerator: str = ""
    accelerator_count: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    retries: int = 2
    timeout_minutes: int = 0
    cache: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(
            not self.cpu or bool(_CPU.match(self.cpu)),
            "cpu is not valid",
            expected="such as 2 or 500m",
            received=self.cpu,
        )
        check(
            not self.memory or bool(_QUANTITY.match(self.memory)),
            "memory is not valid",
            expected="such as 8Gi",
            received=self.memory,
        )
        _check_accelerator(self.accelerator, self.accelerator_count)
        _check_labels("node_selector", self.node_selector)
        check(0 <= self.retries <= 10, "retries is not valid", expected="0 to 10", received=self.retries)
        check(
            self.timeout_minutes >= 0,
            "timeout_minutes is not valid",
            expected="0 or more",
            received=self.timeout_minutes,
        )
        _check_environment(self.environment)


@dataclass(frozen=True)
class BeamOptions:
    """Options of Beam pipelines; without them, they run within the task.

    Attributes:
        runner: FlinkRunner or SparkRunner.
        job_endpoint: HOST:PORT of the runner's Beam job server.
        environment_type: DOCKER with the image of workers, or EXTERNAL with a worker pool next to each task manager.
        environment_config: HOST:PORT of that pool; empty for DOCKER, which uses `worker` of [images].
        beam_options: options of Beam's own, such as parallelism = "4".
    """

    runner: str
    job_endpoint: str
    environment_type: str = "DOCKER"
    environment_config: str = ""
    beam_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(
            self.runner in ("FlinkRunner", "SparkRunner"),
            "the Beam runner is not valid on Kubeflow",
            expected="FlinkRunner or SparkRunner",
            received=self.runner,
        )
        check(
            self.environment_type in ("DOCKER", "EXTERNAL"),
            "the environment type is not valid on Kubeflow",
            expected="DOCKER or EXTERNAL",
            received=self.environment_type,
        )


@dataclass(frozen=True)
class VolumeClaim:
    """A PersistentVolumeClaim that every task mounts.

    Attributes:
        name: of the claim.
        mount: path in the tasks; the run's root and the registry are below it.
    """

    name: str
    mount: str = "/mnt/headrace"

    def __post_init__(self) -> None:
        check(
            bool(_NAME.match(self.name)),
            "the claim's name is not valid",
            expected="a-z, 0-9, - and .",
            received=self.name,
        )
        check(
            self.mount.startswith("/") and not self.mount.startswith(("/gcs", "/minio", "/s3")) and len(self.mount) > 1,
            "the mount path of the claim is not valid",
            expected="an absolute path; /gcs, /minio and /s3 are the engine's mounts of artifacts",
            received=self.mount,
        )


@dataclass(frozen=True)
class ServingOptions:
    """Options of the InferenceService; fields as of `InferenceServiceConfig`."""

    service_account: str = ""
    cpu: str = "1"
    memory: str = "2Gi"
    accelerator: str = ""
    accelerator_count: int = 0
    min_replicas: int = 1
    max_replicas: int = 1
    traffic: int = 100
    mode: str = "Serverless"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    timeout_minutes: int = 15
    rules: str = "enforce"
    traffic_log: str = ""
    request_log: str = ""
    serving: Serving | None = None

    def __post_init__(self) -> None:
        check_mode(self.rules, where="rules")
        check_serving(self.serving, ("gs://", "s3://"))
        check(bool(_CPU.match(self.cpu)), "cpu is not valid", expected="such as 2 or 500m", received=self.cpu)
        check(bool(_QUANTITY.match(self.memory)), "memory is not valid", expected="such as 8Gi", received=self.memory)
        # ModelMesh loads models into servers of its own; headrace's is an image.
        check(self.mode in MODES, "mode is not valid", expected=" or ".join(MODES), received=self.mode)
        knative = mode_of(self.mode) == KNATIVE
        _check_accelerator(self.accelerator, self.accelerator_count)
        check(0 <= self.traffic <= 100, "traffic is not valid", expected="0 to 100", received=self.traffic)
        check(
            self.traffic == 100 or self.mode != "RawDeployment",
            "a traffic split would be ignored",
            expected='mode = "Serverless", or "Standard" with KServe 0.20 or later',
            received=f"traffic = {self.traffic}, mode = {self.mode}",
        )
        check(
            self.min_replicas >= (0 if knative else 1) and self.max_replicas >= max(1, self.min_replicas),
            "the numbers of replicas are not valid",
            expected="min_replicas <= max_replicas; min_replicas = 0 only in the Serverless mode",
            received=f"{self.min_replicas} to {self.max_replicas}",
        )
        _check_labels("node_selector", self.node_selector)
        check(
            self.timeout_minutes >= 1,
            "timeout_minutes is not valid",
            expected="1 or more",
            received=self.timeout_minutes,
        )


@dataclass(frozen=True)
class KubeflowOptions:
    """Options of a Kubeflow cluster.

    Attributes:
        image_pull_policy: Always, IfNotPresent or Never.
        image_pull_secrets: names of secrets for the images' registry.
        secrets: environment variables of every task.
        environment: environment variables of every task that are not secret, such as AWS_ENDPOINT_URL; a task's own
            variable of the same name takes precedence.
        labels: of every pod and the InferenceService.
        claim: mounted by every task.
        tasks: options of each task's pod, by name, including train.
        beam: options of Flink or Spark.
        endpoint: options of the InferenceService.
    """

    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    claim: VolumeClaim | None = None
    tasks: Mapping[str, PodOptions] = field(default_factory=dict)
    beam: BeamOptions | None = None
    endpoint: ServingOptions = field(default_factory=ServingOptions)

    def __post_init__(self) -> None:
        check(
            self.image_pull_policy in _POLICIES,
            "image_pull_policy is not valid",
            expected=", ".join(_POLICIES),
            received=self.image_pull_policy,
        )
        wrong = [name for name in self.image_pull_secrets if not _NAME.match(name)]
        check(not wrong, "a pull secret's name is not valid", expected="a-z, 0-9, - and .", received=wrong)
        _check_labels("labels", self.labels)
        _check_environment(self.environment)
        known = [role for role in ROLES if role not in VERTEX_ALONE]
        unknown = [name for name in self.tasks if name not in known]
        check(not unknown, "the task does not exist", expected=f"one of {', '.join(known)}", received=unknown)


def _check_environment(environment: Mapping[str, str]) -> None:
    wrong = [name for name in environment if not _VARIABLE.match(name)]
    check(not wrong, "the name of a variable is not valid", expected="letters, digits and _", received=wrong)
    for name in _SECRETS.intersection(environment):
        raise UsageError(
            "a secret must not be in a compiled spec",
            where=f"environment.{name}",
            expected="a secret of the namespace",
            fix=f'Write: secrets = [{{name = "SECRET", keys = {{KEY = "{name}"}}}}] in [kubeflow]',
        )


def _check_accelerator(name: str, count: int) -> None:
    check(
        bool(name) == bool(count) and count >= 0,
        "accelerator and accelerator_count do not go together",
        expected="both or neither",
        received=f"{count} x {name or 'nothing'}",
    )
    if name and not _EXTENDED.match(name):
        raise UsageError(
            "the accelerator is not a Kubernetes resource name",
            where="accelerator",
            expected="VENDOR/NAME, such as nvidia.com/gpu, amd.com/gpu or google.com/tpu",
            received=name,
            fix="Select the type of GPU by node_selector" if name.startswith("NVIDIA_") else None,
        )


def _check_labels(where: str, labels: Mapping[str, Any]) -> None:
    wrong = [f"{k}={v}" for k, v in labels.items() if not (_LABEL_KEY.match(k) and _LABEL_VALUE.match(str(v)))]
    check(
        not wrong,
        f"{where} has a label that is not valid in Kubernetes",
        expected="[PREFIX/]NAME=VALUE in letters, digits, -, _ and ., at most 63",
        received=", ".join(wrong),
    )
