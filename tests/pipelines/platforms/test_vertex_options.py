"""Vertex AI's options: what the service would refuse or ignore is refused when they are read, with the rule."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from headrace.core.errors import UsageError
from headrace.pipelines.compiler import load_platform
from headrace.pipelines.platforms import vertex_rules
from headrace.pipelines.platforms.images import Images, Role
from headrace.pipelines.platforms.options import build, read_options
from headrace.pipelines.platforms.vertex_options import (
    DataflowOptions,
    TaskOptions,
    TrainingOptions,
    VertexEndpointOptions,
    VertexOptions,
)

OPTIONS = Path(__file__).with_name("vertex.toml")
DIGEST = f"@sha256:{'1' * 64}"
L4 = {"machine_type": "g2-standard-8", "accelerator": "NVIDIA_L4", "accelerator_count": 1}


def test_the_file_becomes_options() -> None:
    options = build(VertexOptions, read_options(str(OPTIONS))["vertex"], "vertex")
    assert options.training == TrainingOptions(
        machine_type="g2-standard-24",
        accelerator="NVIDIA_L4",
        accelerator_count=2,
        replicas=3,
        spot=True,
        disk_gigabytes=200,
        timeout_hours=12.0,
        retries=3,
        environment={"TF_GPU_ALLOCATOR": "cuda_malloc_async"},
    )
    assert options.tasks["evaluate"] == TaskOptions(cpu=8, memory="32G")
    assert isinstance(options.dataflow, DataflowOptions)
    assert options.endpoint.aliases == ("champion",)


@pytest.mark.parametrize(
    ("machine", "accelerator", "count", "topology"),
    [
        ("n1-standard-8", "", 0, ""),
        ("e2-standard-4", "", 0, ""),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 1, ""),
        ("g4-standard-96", "NVIDIA_RTX_PRO_6000", 2, ""),
        ("n1-highmem-16", "NVIDIA_TESLA_V100", 2, ""),
        ("n1-highcpu-64", "NVIDIA_TESLA_P100", 4, ""),
        ("n1-standard-96", "NVIDIA_TESLA_V100", 8, ""),
        ("a2-highgpu-8g", "NVIDIA_TESLA_A100", 8, ""),
        ("a2-ultragpu-1g", "NVIDIA_A100_80GB", 1, ""),
        ("a3-highgpu-8g", "NVIDIA_H100_80GB", 8, ""),
        ("g2-standard-12", "NVIDIA_L4", 1, ""),
        # A family that the table does not know: the lint warns of it, and the service has the last word.
        ("z3-highmem-88", "", 0, ""),
        ("cloud-tpu", "TPU_V3", 8, ""),
        ("ct5lp-hightpu-4t", "", 0, "2x2"),
        ("ct6e-standard-8t", "", 0, "2x4"),
    ],
)
def test_machines_that_there_are(machine: str, accelerator: str, count: int, topology: str) -> None:
    assert vertex_rules.broken_machine_rule(machine, accelerator, count, topology) is None


@pytest.mark.parametrize(
    ("machine", "accelerator", "count", "topology", "rule"),
    [
        ("standard-8", "", 0, "", "machine"),
        ("n2-standard-8", "NVIDIA_TESLA_T4", 1, "", "accelerator"),
        ("n1-standard-32", "NVIDIA_TESLA_T4", 1, "", "accelerator"),
        ("n1-standard-16", "NVIDIA_TESLA_V100", 1, "", "accelerator"),
        ("n1-standard-32", "NVIDIA_TESLA_P4", 1, "", "accelerator"),
        ("n1-highmem-64", "NVIDIA_TESLA_P4", 2, "", "accelerator"),
        ("n1-standard-64", "NVIDIA_TESLA_P100", 4, "", "accelerator"),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 3, "", "accelerator"),
        ("g2-standard-24", "NVIDIA_L4", 1, "", "accelerator"),
        ("a2-highgpu-1g", "NVIDIA_A100_80GB", 1, "", "accelerator"),
        ("n1-standard-8", "nvidia.com/gpu", 1, "", "accelerator_type"),
        ("g2-standard-8", "NVIDIA_L5", 1, "", "accelerator_type"),
        ("n1-standrad-8", "NVIDIA_TESLA_T4", 1, "", "machine_type"),
        ("n1-standard-8", "NVIDIA_TESLA_K80", 1, "", "accelerator"),
        ("g2-standard-12", "", 0, "", "accelerator_needs_machine"),
        ("g4-standard-48", "", 0, "", "accelerator_needs_machine"),
        ("g4-standard-48", "NVIDIA_RTX_PRO_6000", 2, "", "accelerator"),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 0, "", "accelerator_count"),
        ("n1-standard-8", "", 1, "", "accelerator_count"),
        ("ct5lp-hightpu-4t", "", 0, "", "tpu_topology"),
        ("ct5lp-hightpu-4t", "TPU_V3", 8, "2x2", "tpu_topology"),
        ("n1-standard-8", "", 0, "2x2", "tpu_topology"),
    ],
)
def test_machines_that_there_are_not(machine: str, accelerator: str, count: int, topology: str, rule: str) -> None:
    assert vertex_rules.broken_machine_rule(machine, accelerator, count, topology) == rule


@pytest.mark.parametrize(
    ("kind", "values", "what", "expected"),
    [
        (
            TrainingOptions,
            {"machine_type": "n2-standard-8", "accelerator": "NVIDIA_L4", "accelerator_count": 1},
            "do not go together",
            "Each accelerator is available on some machine types only",
        ),
        (
            TrainingOptions,
            {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "2x2", "replicas": 2},
            "a TPU does not support replicas",
            "one replica",
        ),
        (
            TrainingOptions,
            {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "4x4", "spot": True},
            "not available as spot",
            "Spot VMs with TPU Pods",
        ),
        (
            TrainingOptions,
            {"spot": True, "replicas": 2, "restart": False},
            "needs restart",
            "leaves the others waiting",
        ),
        (TrainingOptions, {"disk_type": "pd-balanced"}, "disk_type is not valid", "pd-ssd, pd-standard or"),
        (
            TrainingOptions,
            {"machine_type": "n4-standard-8", "disk_type": "pd-ssd"},
            "does not support this boot disk",
            "take hyperdisk-balanced only",
        ),
        (
            TrainingOptions,
            {"machine_type": "n2-standard-8", "disk_type": "hyperdisk-balanced"},
            "does not support this boot disk",
            "do not take it",
        ),
        (TrainingOptions, {"disk_gigabytes": 50}, "disk_gigabytes is not valid", "100 to 64000"),
        (TrainingOptions, {"timeout_hours": 0.0}, "timeout_hours is not valid", "more than 0"),
        (TrainingOptions, {"timeout_hours": 1e-4}, "timeout_hours is not valid", "a second or more"),
        (TrainingOptions, {"timeout_hours": 1e300}, "timeout_hours is not valid", "a second or more"),
        (
            TrainingOptions,
            {**L4, "spot": True, "flex_start": True},
            "spot and flex_start exclude each other",
            "STANDARD, SPOT or FLEX_START",
        ),
        (TrainingOptions, {"flex_start": True}, "not available for this machine", "L4, A100, H100, H200 and B200"),
        (
            TrainingOptions,
            {"flex_start": True, "accelerator": "NVIDIA_TESLA_T4", "accelerator_count": 1},
            "not available for this machine",
            "L4, A100",
        ),
        (TrainingOptions, {**L4, "flex_start": True, "timeout_hours": 169.0}, "too long for flex_start", "168 hours"),
        (TrainingOptions, {**L4, "flex_start": True, "max_wait_hours": 1e-4}, "is not valid", "or more"),
        (TrainingOptions, {**L4, "flex_start": True, "max_wait_hours": 1e300}, "is not valid", "or more"),
        (TrainingOptions, {**L4, "flex_start": True, "max_wait_hours": -1.0}, "is not valid", "or more"),
        (TrainingOptions, {**L4, "flex_start": True, "max_wait_hours": float("nan")}, "is not valid", "or more"),
        (TrainingOptions, {"max_wait_hours": 2.0}, "needs flex_start", "valid with FLEX_START only"),
        (TrainingOptions, {"spot": True, "persistent_resource": "gpus"}, "has its machines already", "machines that"),
        (
            TrainingOptions,
            {**L4, "flex_start": True, "persistent_resource": "gpus"},
            "has its machines already",
            "has no effect",
        ),
        (TrainingOptions, {"persistent_resource": "Gpus"}, "persistent_resource is not valid", "from a letter"),
        (TrainingOptions, {"persistent_resource": "gpus-"}, "persistent_resource is not valid", "from a letter"),
        (TrainingOptions, {"persistent_resource": "g" * 64}, "persistent_resource is not valid", "1 to 63"),
        (TrainingOptions, {"environment": {"TF_CONFIG": "{}"}}, "sets this variable itself", "TF_CONFIG"),
        (TrainingOptions, {"environment": {"A": "{{$.x}}"}}, "cannot be part of the request", "without {{"),
        (
            TrainingOptions,
            {"environment": {"A": "0", "B": ""}},
            "a value of environment is empty",
            "remove empty values",
        ),
        (
            VertexOptions,
            {"project": "my-project", "location": "europe-west1", "labels": {"team": ""}},
            "a value of labels is empty",
            "missing from the jobs of a run",
        ),
        (TaskOptions, {"cpu": 128}, "cpu is not valid", "up to 96 CPUs"),
        (TaskOptions, {"memory": "640G"}, "memory is not valid", "624 GB"),
        (TaskOptions, {"memory": "lots"}, "memory is not valid", "624 GB"),
        (
            TaskOptions,
            {"accelerator": "nvidia.com/gpu", "accelerator_count": 1},
            "nvidia.com/gpu is not an accelerator of Vertex AI",
            "one of NVIDIA_TESLA_P4",
        ),
        (
            TaskOptions,
            {"accelerator": "NVIDIA_L4", "accelerator_count": 3},
            "no machine has this number",
            "in some numbers",
        ),
        (VertexEndpointOptions, {"traffic": 101}, "traffic is not valid", "add up to 100"),
        (
            VertexEndpointOptions,
            {"inference_timeout_s": 1200},
            "inference_timeout_s is not valid",
            "a shared one has 60 s",
        ),
        (VertexEndpointOptions, {"dedicated": True, "inference_timeout_s": 3601}, "is not valid", "1 to 3600 s"),
        (VertexEndpointOptions, {"min_replicas": 0}, "replicas are not valid", "at least one replica"),
        (VertexEndpointOptions, {"aliases": ("default",)}, "an alias is not valid", "the service's own"),
        (VertexEndpointOptions, {"aliases": ("Champion",)}, "an alias is not valid", "[a-z]"),
        (VertexOptions, {"project": "123456", "location": "europe-west1"}, "project is not valid", "not its number"),
        (VertexOptions, {"project": "my-project", "location": "europe-west1-b"}, "location is not valid", "a region"),
        (
            VertexOptions,
            {"project": "my-project", "location": "europe-west1", "network": "default"},
            "network is not valid",
            "the project's number",
        ),
        (
            VertexOptions,
            {"project": "my-project", "location": "europe-west1", "labels": {"Team": "x"}},
            "a label is not valid",
            "At most 64 labels",
        ),
        (
            VertexOptions,
            {"project": "my-project", "location": "europe-west1", "tasks": {"train": TaskOptions()}},
            "the task 'train' does not exist",
            "evaluate",
        ),
    ],
)
def test_what_the_service_would_refuse(kind: Any, values: dict[str, Any], what: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**values)
    assert what in caught.value.what
    assert caught.value.expected is not None
    assert expected in caught.value.expected


def test_an_endpoints_replica_takes_fewer_gpus_than_its_machine_has() -> None:
    assert VertexEndpointOptions(machine_type="a3-highgpu-8g", accelerator="NVIDIA_H100_80GB", accelerator_count=2)
    with pytest.raises(UsageError, match="do not go together"):
        TrainingOptions(machine_type="a3-highgpu-8g", accelerator="NVIDIA_H100_80GB", accelerator_count=2)
    with pytest.raises(UsageError, match="do not go together"):
        VertexEndpointOptions(machine_type="n1-standard-32", accelerator="NVIDIA_TESLA_T4", accelerator_count=1)


def test_every_rule_has_a_source_and_a_text() -> None:
    table = vertex_rules.table()
    for name in table["rules"]:
        assert vertex_rules.rule(name)
        assert "https://" not in vertex_rules.rule(name)
        assert "https://" in vertex_rules.source(name)
        assert vertex_rules.source(name).startswith(f"{name}, table of {table['as_of']}")


def test_an_error_says_what_the_machine_takes() -> None:
    with pytest.raises(UsageError) as caught:
        TrainingOptions(machine_type="g2-standard-24", accelerator="NVIDIA_L4", accelerator_count=1)
    assert caught.value.what == "g2-standard-24 and 1 x NVIDIA_L4 do not go together"
    assert caught.value.fix == "g2-standard-24 supports 2 x NVIDIA_L4"


@pytest.mark.parametrize(
    ("table", "what", "where"),
    [
        (
            {"project": "my-project", "location": "europe-west1", "machin": "x"},
            "the option 'machin' does not exist",
            "[vertex]",
        ),
        ({"location": "europe-west1"}, "project is missing", "[vertex]"),
        ({"project": 7, "location": "x"}, "the value has another type", "vertex.project"),
        (
            {"project": "p", "location": "x", "training": {"replicas": True}},
            "the value has another type",
            "vertex.training.replicas",
        ),
        ({"project": "p", "location": "x", "training": []}, "the value has another type", "vertex.training"),
        ({"project": "p", "location": "x", "dataflow": {}}, "temp_location is missing", "[vertex.dataflow]"),
        (
            {"project": "p", "location": "x", "tasks": {"evaluate": {"cpus": 2}}},
            "the option 'cpus' does not exist",
            "[vertex.tasks.evaluate]",
        ),
        (
            {"project": "p", "location": "x", "endpoint": {"aliases": "champion"}},
            "the value has another type",
            "vertex.endpoint.aliases",
        ),
    ],
)
def test_a_table_that_is_wrong(table: dict[str, Any], what: str, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(VertexOptions, table, "vertex")
    assert (caught.value.what, caught.value.where) == (what, where)


def test_images_are_named_by_their_digests() -> None:
    names = dict.fromkeys(("beam", "train", "serve"), f"gcr.io/p/x{DIGEST}")
    assert Images(**names).of("register") == names["beam"]
    images = Images(**names, light=f"gcr.io/p/light{DIGEST}")
    assert images.of("deploy") == images.of("notify") == f"gcr.io/p/light{DIGEST}"
    # What reads rows or predictions needs libraries that an image for light work may do without.
    assert {images.of(role) for role in ("champion", "check", "publish", "canary")} == {names["beam"]}
    steps: tuple[Role, ...] = ("renew", "conclude", "tick")
    assert {images.of(role) for role in steps} == {images.light}
    assert {images.of(role, replays=True) for role in steps} == {names["beam"]}
    assert images.of("deploy", replays=True) == images.light
    with pytest.raises(UsageError, match="has a tag instead of a digest") as caught:
        Images(**{**names, "train": "gcr.io/p/x:1.0"})
    assert caught.value.where == "images.train"
    assert Images(**{**names, "train": "gcr.io/p/x:1.0"}, allow_tags=True).of("train") == "gcr.io/p/x:1.0"
    for wrong in ("", "x", "gcr.io/p/x", "gcr.io/p/X" + DIGEST, "gcr.io/p/x@sha256:12", f'gcr.io/p/"x{DIGEST}'):
        with pytest.raises(UsageError):
            Images(**{**names, "train": wrong}, allow_tags=True)


def test_dataflow_is_checked_by_its_own_rules(tmp_path: Path) -> None:
    wrong = tmp_path / "options.toml"
    wrong.write_text(OPTIONS.read_text().replace("regions/europe-west1/", "regions/us-central1/"))
    with pytest.raises(UsageError, match="the subnetwork is in another region") as caught:
        load_platform("vertex", str(wrong))
    assert "[vertex.dataflow]" in str(caught.value.where)


@pytest.mark.parametrize("machine", ["cloud-tpu", "ct6e-standard-4t", "a2-highgpu-1g", "g2-standard-8"])
def test_dataflow_has_workers_without_accelerators(tmp_path: Path, machine: str) -> None:
    wrong = tmp_path / "options.toml"
    wrong.write_text(OPTIONS.read_text().replace('"n2-standard-4"\nmax_workers', f'"{machine}"\nmax_workers'))
    with pytest.raises(UsageError, match="would not get the accelerators") as caught:
        load_platform("vertex", str(wrong))
    assert "[vertex.dataflow]" in str(caught.value.where)


def test_options_files_that_are_wrong(tmp_path: Path) -> None:
    for text, what in (
        ("[images", "the options file cannot be read"),
        ("[images]\n", "the table [vertex] is missing"),
        ("[images]\n[vertex]\n[verteks]\n", "the table [verteks] is not valid"),
    ):
        (tmp_path / "options.toml").write_text(text)
        with pytest.raises(UsageError) as caught:
            load_platform("vertex", str(tmp_path / "options.toml"))
        assert caught.value.what == what
    with pytest.raises(UsageError, match="options are missing"):
        load_platform("vertex")
    with pytest.raises(UsageError, match="the options file does not exist"):
        load_platform("vertex", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="the local platform has no options"):
        load_platform("local", str(OPTIONS))


def test_defaults_are_right_themselves() -> None:
    options = VertexOptions(project="my-project", location="europe-west1")
    assert dataclasses.replace(options).training.spot is False


@pytest.mark.parametrize(
    ("machine", "default", "taken"),
    [
        ({"machine_type": "n1-standard-8"}, None, ["pd-ssd", "pd-standard"]),
        ({"machine_type": "e2-standard-4"}, None, ["pd-ssd", "pd-standard"]),
        ({"machine_type": "c3-standard-8"}, None, ["hyperdisk-balanced", "pd-ssd"]),
        ({"machine_type": "c4-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "n4-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "c4a-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "c4d-highmem-8-lssd"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "c4n-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "n4a-highcpu-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "n4d-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "m4-megamem-28"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "m4n-ultramem-56"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "h4d-highmem-192-lssd"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "z4d-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "n5-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "c10a-standard-8"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        ({"machine_type": "t2a-standard-8"}, None, ["pd-ssd", "pd-standard"]),
        ({"machine_type": "m1-megamem-96"}, None, ["hyperdisk-balanced", "pd-ssd", "pd-standard"]),
        ({"machine_type": "m3-megamem-64"}, None, ["hyperdisk-balanced", "pd-ssd"]),
        (
            {"machine_type": "g4-standard-48", "accelerator": "NVIDIA_RTX_PRO_6000", "accelerator_count": 1},
            "hyperdisk-balanced",
            ["hyperdisk-balanced"],
        ),
        (
            {"machine_type": "a4x-highgpu-4g", "accelerator": "NVIDIA_GB200", "accelerator_count": 4},
            "hyperdisk-balanced",
            ["hyperdisk-balanced"],
        ),
        (
            {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "2x2"},
            None,
            ["hyperdisk-balanced", "pd-ssd", "pd-standard"],
        ),
        ({"machine_type": "g2-standard-8", "accelerator": "NVIDIA_L4", "accelerator_count": 1}, None, ["pd-ssd"]),
        (
            {"machine_type": "a2-highgpu-1g", "accelerator": "NVIDIA_TESLA_A100", "accelerator_count": 1},
            None,
            ["pd-ssd", "pd-standard"],
        ),
        (
            {"machine_type": "a3-highgpu-8g", "accelerator": "NVIDIA_H100_80GB", "accelerator_count": 8},
            None,
            ["hyperdisk-balanced", "pd-ssd"],
        ),
        (
            {"machine_type": "a3-ultragpu-8g", "accelerator": "NVIDIA_H200_141GB", "accelerator_count": 8},
            "hyperdisk-balanced",
            ["hyperdisk-balanced"],
        ),
        (
            {"machine_type": "a4-highgpu-8g", "accelerator": "NVIDIA_B200", "accelerator_count": 8},
            "hyperdisk-balanced",
            ["hyperdisk-balanced"],
        ),
        ({"machine_type": "ct6e-standard-4t", "tpu_topology": "2x2"}, "hyperdisk-balanced", ["hyperdisk-balanced"]),
        (
            {"machine_type": "cloud-tpu", "accelerator": "TPU_V3", "accelerator_count": 8},
            None,
            ["pd-ssd", "pd-standard"],
        ),
    ],
)
def test_each_machine_has_a_boot_disk_that_it_takes(
    machine: dict[str, Any], default: str | None, taken: list[str]
) -> None:
    assert TrainingOptions(**machine, disk_gigabytes=200).boot_disk() == {
        **({"boot_disk_type": default} if default else {}),
        "boot_disk_size_gb": 200,
    }
    for kind in ("hyperdisk-balanced", "pd-ssd", "pd-standard"):
        if kind in taken:
            assert TrainingOptions(**machine, disk_type=kind).boot_disk()["boot_disk_type"] == kind
        else:
            with pytest.raises(UsageError, match="does not support this boot disk"):
                TrainingOptions(**machine, disk_type=kind)


def test_a_generation_is_a_number_of_the_family() -> None:
    """Fourth and later ones take one type, whatever letters follow, and TPU v5 is not one of them."""
    newer = [
        kind
        for kind in vertex_rules.table()["machine_types"]
        if vertex_rules.boot_disks(f"{kind}-8") == ["hyperdisk-balanced"]
    ]
    families = sorted({kind.partition("-")[0] for kind in newer})
    assert families == [
        "a3",
        "a4",
        "a4x",
        "c4",
        "c4a",
        "c4d",
        "c4n",
        "ct6e",
        "g4",
        "h4d",
        "m4",
        "m4n",
        "n4",
        "n4a",
        "n4d",
    ]
    assert [kind for kind in newer if kind.startswith("a3")] == ["a3-ultragpu"]


def test_every_known_family_takes_a_boot_disk() -> None:
    families = vertex_rules.table()["families"].partition(")")[0].strip("(").split("|")
    assert [family for family in [*families, "cloud-tpu"] if not vertex_rules.boot_disks(f"{family}-x-1")] == []
