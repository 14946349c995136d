"""What the user says about a self-hosted Kubeflow: options that check themselves against what Kubernetes takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.core.errors import UsageError
from headrace.pipelines.platforms.images import ROLES, VERTEX_ALONE
from headrace.pipelines.platforms.options import check

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?\Z")
_CPU = re.compile(r"[0-9]+(\.[0-9]+)?m?\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_EXTENDED = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute", "")
_POLICIES = ("Always", "IfNotPresent", "Never")
_MODES = ("Serverless", "Standard")


@dataclass(frozen=True)
class Toleration:
    """A taint that is no hindrance.

    Attributes:
        key, value: of the taint; an empty key is every one.
        operator: Equal or Exists.
        effect: NoSchedule, PreferNoSchedule, NoExecute, or "" for all.
    """

    key: str = ""
    value: str = ""
    operator: str = "Equal"
    effect: str = ""

    def __post_init__(self) -> None:
        check(
            self.operator in ("Equal", "Exists"),
            "operator is wrong",
            expected="Equal or Exists",
            received=self.operator,
        )
        check(self.effect in _EFFECTS, "effect is wrong", expected=", ".join(_EFFECTS[:3]), received=self.effect)
        check(
            bool(self.key) or self.operator == "Exists",
            "a toleration without a key tolerates nothing",
            expected='operator = "Exists" where the key is empty: Kubernetes refuses another',
            received=self.operator,
        )
        check(
            not (self.value and self.operator == "Exists"),
            "Exists takes no value",
            expected="no value: Kubernetes refuses one",
            received=self.value,
        )

    def to_kubernetes(self) -> dict[str, str]:
        """As a pod has it."""
        all_of_it = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        return {name: value for name, value in all_of_it.items() if value}


@dataclass(frozen=True)
class Secret:
    """A secret of the namespace, as variables of a task.

    Attributes:
        name: of the secret.
        keys: the variable's name by the secret's key.
    """

    name: str
    keys: Mapping[str, str]

    def __post_init__(self) -> None:
        check(
            bool(_NAME.match(self.name)), "a secret's name is wrong", expected="a-z, 0-9, - and .", received=self.name
        )
        wrong = [variable for variable in self.keys.values() if not _VARIABLE.match(variable)]
        check(
            bool(self.keys) and not wrong,
            "a secret's variables are wrong",
            expected="KEY = VARIABLE, in letters, digits and _",
            received=wrong or "none",
        )


@dataclass(frozen=True)
class PodOptions:
    """The pod of a task.

    Attributes:
        cpu, memory: requested and at most, such as "2" and "8Gi"; "" for the cluster's own.
        accelerator, accelerator_count: a resource such as nvidia.com/gpu, and how many.
        node_selector: labels of the nodes.
        tolerations: taints that are no hindrance.
        retries: how often a task that failed is tried again.
        timeout_minutes: after which its pod is ended; 0 for no end.
        cache: whether what an earlier run made of the same input is taken.
        environment: variables of the task.
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
            not self.cpu or bool(_CPU.match(self.cpu)), "cpu is wrong", expected="such as 2 or 500m", received=self.cpu
        )
        check(
            not self.memory or bool(_QUANTITY.match(self.memory)),
            "memory is wrong",
            expected="such as 8Gi",
            received=self.memory,
        )
        _check_accelerator(self.accelerator, self.accelerator_count)
        _check_labels("node_selector", self.node_selector)
        check(0 <= self.retries <= 10, "retries is wrong", expected="0 to 10", received=self.retries)
        check(
            self.timeout_minutes >= 0, "timeout_minutes is wrong", expected="0 or more", received=self.timeout_minutes
        )
        wrong = [name for name in self.environment if not _VARIABLE.match(name)]
        check(not wrong, "a variable's name is wrong", expected="letters, digits and _", received=wrong)


@dataclass(frozen=True)
class BeamOptions:
    """Where Beam's pipelines run; without it, within the task.

    Attributes:
        runner: FlinkRunner or SparkRunner.
        job_endpoint: HOST:PORT of Beam's job server for it.
        environment_type: DOCKER with the image of workers, or EXTERNAL with a worker pool beside each task manager.
        environment_config: HOST:PORT of that pool; `worker` of [images] where DOCKER leaves it empty.
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
            "there is no such runner on Kubeflow",
            expected="FlinkRunner or SparkRunner",
            received=self.runner,
        )
        check(
            self.environment_type in ("DOCKER", "EXTERNAL"),
            "there is no such environment on Kubeflow",
            expected="DOCKER or EXTERNAL",
            received=self.environment_type,
        )


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim that every task mounts.

    Attributes:
        name: of the claim.
        mount: where tasks have it; the run's root and the registry are below.
    """

    name: str
    mount: str = "/mnt/headrace"

    def __post_init__(self) -> None:
        check(
            bool(_NAME.match(self.name)), "the claim's name is wrong", expected="a-z, 0-9, - and .", received=self.name
        )
        check(
            self.mount.startswith("/") and not self.mount.startswith(("/gcs", "/minio", "/s3")) and len(self.mount) > 1,
            "the claim cannot be mounted there",
            expected="an absolute path; /gcs, /minio and /s3 are where the engine shows its artifacts",
            received=self.mount,
        )


@dataclass(frozen=True)
class ServingOptions:
    """The InferenceService; `ServiceConfig` says what each one is."""

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

    def __post_init__(self) -> None:
        check(bool(_CPU.match(self.cpu)), "cpu is wrong", expected="such as 2 or 500m", received=self.cpu)
        check(bool(_QUANTITY.match(self.memory)), "memory is wrong", expected="such as 8Gi", received=self.memory)
        check(self.mode in _MODES, "mode is wrong", expected=" or ".join(_MODES), received=self.mode)
        _check_accelerator(self.accelerator, self.accelerator_count)
        check(0 <= self.traffic <= 100, "traffic is wrong", expected="0 to 100", received=self.traffic)
        check(
            self.traffic == 100 or self.mode == "Serverless",
            "a share of the traffic would be ignored",
            expected='mode = "Serverless": KServe ignores canaryTrafficPercent in its Standard mode',
            received=f"traffic = {self.traffic}, mode = {self.mode}",
        )
        check(
            self.min_replicas >= (0 if self.mode == "Serverless" else 1)
            and self.max_replicas >= max(1, self.min_replicas),
            "the replicas are wrong",
            expected="min_replicas <= max_replicas; 0 of them only in the Serverless mode",
            received=f"{self.min_replicas} to {self.max_replicas}",
        )
        _check_labels("node_selector", self.node_selector)
        check(
            self.timeout_minutes >= 1, "timeout_minutes is wrong", expected="1 or more", received=self.timeout_minutes
        )


@dataclass(frozen=True)
class KubeflowOptions:
    """All that the user says about the cluster.

    Attributes:
        image_pull_policy: Always, IfNotPresent or Never.
        image_pull_secrets: names of secrets for the images' registry.
        secrets: that every task has as variables.
        labels: on every pod, and on the InferenceService.
        claim: mounted by every task.
        tasks: the pod of each task, by its name; train among them.
        beam: Flink or Spark.
        endpoint: the InferenceService.
    """

    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    tasks: Mapping[str, PodOptions] = field(default_factory=dict)
    beam: BeamOptions | None = None
    endpoint: ServingOptions = field(default_factory=ServingOptions)

    def __post_init__(self) -> None:
        check(
            self.image_pull_policy in _POLICIES,
            "image_pull_policy is wrong",
            expected=", ".join(_POLICIES),
            received=self.image_pull_policy,
        )
        wrong = [name for name in self.image_pull_secrets if not _NAME.match(name)]
        check(not wrong, "a pull secret's name is wrong", expected="a-z, 0-9, - and .", received=wrong)
        _check_labels("labels", self.labels)
        known = [role for role in ROLES if role not in VERTEX_ALONE]
        unknown = [name for name in self.tasks if name not in known]
        check(not unknown, "there is no such task", expected=f"one of {', '.join(known)}", received=unknown)


def _check_accelerator(name: str, count: int) -> None:
    check(
        bool(name) == bool(count) and count >= 0,
        "accelerator and accelerator_count do not go together",
        expected="both or none",
        received=f"{count} x {name or 'nothing'}",
    )
    if name and not _EXTENDED.match(name):
        raise UsageError(
            "this is no resource of Kubernetes",
            where="accelerator",
            expected="VENDOR/NAME, such as nvidia.com/gpu, amd.com/gpu or google.com/tpu",
            received=name,
            fix="The kind of GPU goes into node_selector" if name.startswith("NVIDIA_") else None,
        )


def _check_labels(where: str, labels: Mapping[str, Any]) -> None:
    wrong = [f"{k}={v}" for k, v in labels.items() if not (_LABEL_KEY.match(k) and _LABEL_VALUE.match(str(v)))]
    check(
        not wrong,
        f"{where} has a label that Kubernetes refuses",
        expected="[PREFIX/]NAME=VALUE in letters, digits, -, _ and ., 63 at most",
        received=", ".join(wrong),
    )
