"""Vertex AI's table of names: regions, machine types and accelerators, and what a name that it lacks is near to."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.command import headrace

from headrace.core.errors import UsageError
from headrace.pipelines.platforms import vertex_rules
from headrace.pipelines.platforms.options import build
from headrace.pipelines.platforms.vertex_options import VertexOptions

OPTIONS = Path(__file__).with_name("vertex.toml")
VERTEX = {"project": "my-project", "location": "europe-west1"}


@pytest.mark.parametrize(
    ("table", "paragraph"),
    [
        (
            {"training": {"machine_type": "g2-standard-8", "accelerator": "NVIDIA_L5", "accelerator_count": 1}},
            "[vertex.training]: NVIDIA_L5 is not an accelerator of Vertex AI. Perhaps NVIDIA_L4.",
        ),
        (
            {"endpoint": {"accelerator": "nvidia-tesla-t4", "accelerator_count": 1}},
            "[vertex.endpoint]: nvidia-tesla-t4 is not an accelerator of Vertex AI. Perhaps NVIDIA_TESLA_T4.",
        ),
        (
            {"tasks": {"evaluate": {"accelerator": "NVIDIA_T4", "accelerator_count": 1}}},
            "[vertex.tasks.evaluate]: NVIDIA_T4 is not an accelerator of Vertex AI. Perhaps NVIDIA_TESLA_T4.",
        ),
        (
            {"training": {"machine_type": "n1-standrad-8"}},
            "[vertex.training]: n1-standrad-8 is not a machine type of Google Cloud. Perhaps n1-standard-8.",
        ),
        (
            {"training": {"machine_type": "n1-standard-7"}},
            "[vertex.training]: n1-standard-7 is not a machine type of Google Cloud. Perhaps n1-standard-8.",
        ),
        (
            {"endpoint": {"machine_type": "e2-higmem-4"}},
            "[vertex.endpoint]: e2-higmem-4 is not a machine type of Google Cloud. Perhaps e2-highmem-4.",
        ),
        (
            {"batch_prediction": {"staging": "gs://b/s", "machine_type": "n2-standrad-4"}},
            "[vertex.batch_prediction]: n2-standrad-4 is not a machine type of Google Cloud. Perhaps n2-standard-4.",
        ),
        (
            {"dataflow": {"temp_location": "gs://b/t", "machine_type": "n2d-standrad-3"}},
            "[vertex.dataflow]: n2d-standrad-3 is not a machine type of Google Cloud. Perhaps n2d-standard-2.",
        ),
        ({"location": "us-centrl1"}, "[vertex]: us-centrl1 is not a region of Vertex AI. Perhaps us-central1."),
        ({"location": "europe-west5"}, "[vertex]: europe-west5 is not a region of Vertex AI. Perhaps europe-west4."),
    ],
)
def test_a_name_that_is_near_one_of_the_table_is_said_first(table: dict[str, Any], paragraph: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(VertexOptions, {**VERTEX, **table}, "vertex")
    assert caught.value.paragraph == paragraph


@pytest.mark.parametrize(
    ("machine", "near"),
    [
        ("n1-standard-8", ""),
        ("n2-custom-4-8192", ""),
        ("cloud-tpu", ""),
        ("", ""),
        # Numbered above what is known: perhaps newer than the table.
        ("n5-standard-8", ""),
        ("n4-standard-96", ""),
        ("c4x-standard-8", ""),
        ("a2-highgpu-16g", ""),
        # Nothing near.
        ("n1-enormous-8", ""),
        ("nl-highmem-8", "n4-highmem-8"),
        ("n2-highcpu-7", "n2-highcpu-8"),
        ("c3-standart-22-lssd", "c3-standard-22-lssd"),
        ("n1-standart-1000", "n1-standard-96"),
        ("g2-standard-5", "g2-standard-4"),
        ("a3-highgpu-8", "a3-highgpu-8g"),
        ("ct6e-standard-4", "ct6e-standard-4t"),
    ],
)
def test_what_a_machine_type_is_a_mistake_for(machine: str, near: str) -> None:
    assert vertex_rules.near_machine(machine) == near


def test_every_region_and_machine_of_the_table_is_taken() -> None:
    table = vertex_rules.table()
    regions = [*table["regions"].split(), *table["other_regions"].split()]
    assert [region for region in regions if vertex_rules.near_region(region)] == []
    machines = [f"{kind}-{size}" for kind, sizes in table["machine_types"].items() for size in sizes.split()]
    assert len(set(machines)) == len(machines) > 400
    assert [machine for machine in machines if vertex_rules.near_machine(machine)] == []
    for counts in table["accelerators"].values():
        for pattern in counts.values():
            assert any(re.match(pattern, machine) for machine in [*machines, "cloud-tpu"])


def test_what_the_table_does_not_have_is_a_warning_of_compile(tmp_path: Path) -> None:
    text = OPTIONS.read_text()
    options, spec = tmp_path / "options.toml", tmp_path / "static.yaml"
    command = ("compile", "static", "--platform", "vertex", "--options", str(options), "--output", str(spec))
    options.write_text(text)
    assert headrace(*command).stderr == ""
    for old, new in (
        ('location = "europe-west1"', 'location = "europe-west99"'),
        ("regions/europe-west1/", "regions/europe-west99/"),
        ('machine_type = "n2-standard-4"', 'machine_type = "n5-standard-4"'),
        ('machine_type = "n1-standard-4"', 'machine_type = "z3-highmem-88"'),
    ):
        text = text.replace(old, new)
    options.write_text(text)
    warned = headrace(*command)
    assert warned.returncode == 0
    check = "Check that the service offers it."
    assert warned.stderr.splitlines() == [
        "warning: [vertex]: the table of regions has no europe-west99. Check that Vertex AI is available there.",
        f"warning: [vertex.dataflow]: the table of machine types has no n5-standard-4. {check}",
        f"warning: [vertex.endpoint]: the table of machine types has no z3-highmem-88. {check}",
    ]


def test_sources_of_rules_are_printed_by_verbose_alone(tmp_path: Path) -> None:
    options, spec = tmp_path / "options.toml", tmp_path / "static.yaml"
    options.write_text(OPTIONS.read_text().replace("disk_gigabytes = 200", "disk_gigabytes = 50"))
    command = ("compile", "static", "--platform", "vertex", "--options", str(options), "--output", str(spec))
    brief, verbose = headrace(*command), headrace(*command, "--verbose")
    assert brief.returncode == verbose.returncode == 2
    assert "https://" not in brief.stderr
    source, _, rest = verbose.stderr.partition("\n")
    assert (source, rest) == (f"rule {vertex_rules.source('disk_size')}", brief.stderr)
    options.write_text(OPTIONS.read_text().replace('machine_type = "n1-standard-4"', 'machine_type = "z3-highmem-88"'))
    assert f"rule {vertex_rules.source('machine_type')}" in headrace(*command, "--verbose").stderr
