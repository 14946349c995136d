"""The static pipeline as it is compiled for Vertex AI: the golden file, and field by field what matters in it."""

import json
from pathlib import Path

import pytest
import yaml

from headrace.core.beam.runners import DataflowRunner, runner_of
from headrace.core.errors import UsageError, UserError
from headrace.pipelines.compiler import compile_to
from headrace.pipelines.lint.check import lint
from headrace.pipelines.lint.spec import SpecTask, read_spec
from headrace.pipelines.platforms.vertex import resource_name
from headrace.pipelines.platforms.vertex_options import VertexOptions

OPTIONS = Path(__file__).with_name("vertex.toml")
GOLDEN = Path(__file__).parents[1] / "golden" / "static_training_vertex.yaml"
BEAM, TRAIN, SERVE, WORKER = (
    f"europe-docker.pkg.dev/my-project/headrace/{name}@sha256:{digit * 64}"
    for name, digit in (("beam", "1"), ("trainer-gpu", "2"), ("server", "3"), ("beam-worker", "5"))
)


def compile_with(folder: Path, old: str = "", new: str = "") -> Path:
    options = folder / "options.toml"
    text = OPTIONS.read_text()
    assert old in text
    options.write_text(text.replace(old, new) if old else text)
    compile_to("static", "vertex", str(folder / "static.yaml"), options_file=str(options))
    return folder / "static.yaml"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_with(tmp_path_factory.mktemp("spec"))


@pytest.fixture(scope="module")
def tasks(path: Path) -> dict[str, SpecTask]:
    return {task.where.rpartition(".")[2]: task for task in read_spec(str(path)).tasks()}


def test_the_golden_file(path: Path) -> None:
    """On purpose changed? `headrace compile static --platform vertex --options .../vertex.toml --output GOLDEN`."""
    compiled, golden = yaml.safe_load(path.read_text()), yaml.safe_load(GOLDEN.read_text())
    for spec in (compiled, golden):
        spec.pop("sdkVersion", None)
    assert compiled == golden


def test_each_task_has_its_image(path: Path) -> None:
    images = {name: container["image"] for name, container in read_spec(str(path)).containers()}
    launcher = images.pop("exec-train")
    assert images == {
        "exec-resolve": BEAM,
        "exec-preprocess": BEAM,
        "exec-evaluate": TRAIN,
        "exec-register": BEAM,
        "exec-deploy": BEAM,
        "exec-summarize": BEAM,
    }
    assert launcher == f"gcr.io/ml-pipeline/google-cloud-pipeline-components@sha256:{'4' * 64}"


def test_training_is_a_custom_job(path: Path, tasks: dict[str, SpecTask]) -> None:
    inputs = tasks["train"].inputs()
    pools = inputs.pop("worker_pool_specs")
    assert [pool["replica_count"] for pool in pools] == [1, 2]
    for pool in pools:
        container = pool["container_spec"]
        assert container["image_uri"] == TRAIN
        assert container["args"] == ["--executor_input", "{{$.json_escape[1]}}", "--function_to_execute", "train"]
        assert "def train(" in container["command"][-1]
        assert "pip install" not in "".join(container["command"])
        assert container["env"] == [{"name": "TF_GPU_ALLOCATOR", "value": "cuda_malloc_async"}]
        assert pool["machine_spec"] == {
            "machine_type": "g2-standard-24",
            "accelerator_type": "NVIDIA_L4",
            "accelerator_count": 2,
        }
        assert pool["disk_spec"] == {"boot_disk_size_gb": 200}
    expected = {
        "display_name": "headrace-train",
        "location": "europe-west1",
        "project": "{{$.pipeline_google_cloud_project_id}}",
        "timeout": "43200s",
        "restart_job_on_worker_restart": True,
        "service_account": "headrace@my-project.iam.gserviceaccount.com",
        "network": "projects/123456789/global/networks/training",
        "labels": {"headrace-step": "train"},
        "encryption_spec_key_name": "",
    }
    assert {name: inputs[name] for name in expected} == expected
    assert tasks["train"].spec["retryPolicy"]["maxRetryCount"] == 3
    container = read_spec(str(path)).executor_of(tasks["train"])
    assert inputs["strategy"] == "SPOT"
    assert container["command"][-1] == "google_cloud_pipeline_components.container.v1.custom_job.launcher"


def test_what_inputs_mean_is_found_before_any_task_that_may_be_cached(tasks: dict[str, SpecTask]) -> None:
    assert tasks["resolve"].spec.get("dependentTasks") is None
    assert tasks["resolve"].spec["cachingOptions"] == {}
    assert tasks["preprocess"].spec["dependentTasks"] == ["resolve"]
    rows = next(task for name, task in tasks.items() if name.startswith("condition") and "resolve" in str(task.spec))
    assert sorted(rows.spec["dependentTasks"]) == ["preprocess", "resolve"]
    source = tasks["preprocess"].spec["inputs"]["parameters"]["attempt"]
    assert source == {"taskOutputParameter": {"outputParameterKey": "attempt", "producerTask": "resolve"}}
    # Tasks that need rows get it through their condition.
    for task, name in (("train", "attempt"), ("evaluate", "attempt"), ("train", "training"), ("evaluate", "champion")):
        source = tasks[task].spec["inputs"]["parameters"][name]
        assert source == {"componentInputParameter": f"pipelinechannel--resolve-{name}"}
        of_rows = rows.spec["inputs"]["parameters"][f"pipelinechannel--resolve-{name}"]
        assert of_rows == {"taskOutputParameter": {"outputParameterKey": name, "producerTask": "resolve"}}


def test_checkpoints_are_where_the_next_attempt_looks(tasks: dict[str, SpecTask]) -> None:
    # The same root in each attempt: a spot machine that was taken back goes on from what the one before it kept.
    assert tasks["train"].spec["inputs"]["parameters"]["root"] == {"componentInputParameter": "pipelinechannel--root"}


def test_preprocessing_runs_on_dataflow_with_workers_of_our_image(tasks: dict[str, SpecTask]) -> None:
    runner = runner_of(tasks["preprocess"].inputs()["runner"])
    assert runner == DataflowRunner(
        project="my-project",
        region="europe-west1",
        temp_location="gs://my-bucket/temp",
        sdk_container_image=WORKER,
        service_account="headrace@my-project.iam.gserviceaccount.com",
        machine_type="n2-standard-4",
        max_workers=20,
        subnetwork="regions/europe-west1/subnetworks/beam",
        public_addresses=False,
        labels={"headrace-step": "beam"},
    )
    assert "gcp_resources" in tasks["preprocess"].component["outputDefinitions"]["parameters"]


def test_dataflow_without_an_image_for_its_workers_is_refused(tmp_path: Path) -> None:
    line = next(line for line in OPTIONS.read_text().splitlines(keepends=True) if line.startswith("worker"))
    with pytest.raises(UsageError, match="the image is missing for the workers of DataflowRunner") as refused:
        compile_with(tmp_path, line, "")
    assert refused.value.where == "[vertex.dataflow], [images]"
    assert "make images IMAGES=beam-worker" in refused.value.text
    assert not (tmp_path / "static.yaml").exists()


def test_machines_retries_and_caching_are_as_asked(path: Path, tasks: dict[str, SpecTask]) -> None:
    resources = read_spec(str(path)).executor_of(tasks["evaluate"])["resources"]
    assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("8", "32G")
    cached = {name for name, task in tasks.items() if task.spec.get("cachingOptions", {}).get("enableCache")}
    assert cached == {"train", "evaluate"}
    retries = {name: task.spec.get("retryPolicy", {}).get("maxRetryCount") for name, task in tasks.items()}
    assert retries["preprocess"] is None
    assert retries["evaluate"] == retries["deploy"] == 2


def test_the_model_is_uploaded_with_aliases_and_deployed_with_a_share(tasks: dict[str, SpecTask]) -> None:
    assert tasks["register"].inputs() == {
        "serving_image": SERVE,
        "aliases": ["champion"],
        "labels": {"headrace-step": "register", "team": "growth"},
        "encryption_key": "",
        "rules": "enforce",
        "claim": {},
        "traffic_log": "",
        "serving": {},
        "request_log": "",
    }
    deployed = tasks["deploy"].inputs()
    assert deployed["traffic"] == 20
    assert (deployed["min_replicas"], deployed["max_replicas"]) == (1, 4)
    assert deployed["machine_type"] == "n1-standard-4"
    assert tasks["deploy"].spec["dependentTasks"] == ["register"]


def test_the_servers_answer_from_a_table(tmp_path: Path) -> None:
    """A table of the options, checked as they are: the version's servers get it as variables."""
    table = 'traffic = 20\nserving = {mode = "hybrid", table = "gs://b/tables", cache_rows = 100}'
    found = {t.where: t for t in read_spec(str(compile_with(tmp_path, "traffic = 20", table))).tasks()}
    (registered,) = (task.inputs() for where, task in found.items() if where.endswith(".register"))
    assert registered["serving"] == {"mode": "hybrid", "table": "gs://b/tables", "cache_rows": 100}
    for wrong, what in (
        ('{mode = "hybrid"}', "hybrid serving needs a table"),
        ('{mode = "hybrid", table = "/tables"}', "the servers cannot read the table"),
        ('{mode = "fast"}', "the serving mode is wrong"),
        ('{mode = "dynamic", cache_rows = 5}', "a cache belongs to hybrid serving"),
        ('{modes = "hybrid"}', "the option 'modes' does not exist"),
    ):
        with pytest.raises(UserError, match=what) as caught:
            compile_with(tmp_path, "traffic = 20", f"traffic = 20\nserving = {wrong}")
        assert "[vertex.endpoint" in (caught.value.where or "")


def test_a_dedicated_endpoint_is_as_the_options_say(tmp_path: Path) -> None:
    found = {t.where: t for t in read_spec(str(compile_with(tmp_path, "traffic = 20", "dedicated = true"))).tasks()}
    (deployed,) = (task.inputs() for where, task in found.items() if where.endswith(".deploy"))
    assert (deployed["dedicated"], deployed["inference_timeout_s"]) == (True, 600)


def test_the_lint_has_nothing_to_say(path: Path) -> None:
    assert lint(str(path), "vertex") == []


def test_it_is_what_the_sdk_would_send(path: Path) -> None:
    from google.cloud import aiplatform_v1

    spec = yaml.safe_load(path.read_text())
    job = aiplatform_v1.PipelineJob.from_json(json.dumps({"pipelineSpec": spec, "displayName": "x"}))
    assert dict(job.pipeline_spec)["schemaVersion"] == "2.1.0"


def test_the_request_of_the_custom_job_is_one_that_the_api_parses(path: Path, tasks: dict[str, SpecTask]) -> None:
    from google.cloud import aiplatform_v1
    from google_cloud_pipeline_components.container.v1.gcp_launcher.utils import json_util

    request = read_spec(str(path)).executor_of(tasks["train"])["args"][3]
    # What the component is given at run time, a text of the user's among it, must not reach the request.
    for name, value in {**tasks["train"].inputs(), "training": {"strategy": "mirrored"}}.items():
        placeholder = f"{{{{$.inputs.parameters['{name}']}}}}"
        written = value if f'"{placeholder}"' in request else json.dumps(value)
        request = request.replace(placeholder, str(written))
    # The launcher takes away what is empty before it sends the request.
    job = aiplatform_v1.CustomJob.from_json(json.dumps(json_util.recursive_remove_empty(json.loads(request))))
    spec = job.job_spec
    assert [pool.replica_count for pool in spec.worker_pool_specs] == [1, 2]
    assert spec.worker_pool_specs[1].machine_spec.accelerator_type == aiplatform_v1.AcceleratorType.NVIDIA_L4
    assert spec.scheduling.strategy == aiplatform_v1.Scheduling.Strategy.SPOT
    assert spec.scheduling.restart_job_on_worker_restart is True
    assert spec.scheduling.timeout.total_seconds() == 12 * 3600
    assert spec.service_account == "headrace@my-project.iam.gserviceaccount.com"
    assert dict(job.labels) == {"headrace-step": "train"}


def test_a_tpu_has_its_topology(tmp_path: Path) -> None:
    old = OPTIONS.read_text().partition("[vertex.training]")[2].partition("[vertex.dataflow]")[0]
    new = '\nmachine_type = "ct5lp-hightpu-4t"\ntpu_topology = "2x2"\n\n'
    found = {t.where: t for t in read_spec(str(compile_with(tmp_path, old, new))).tasks()}
    (pool,) = found["exit-handler-1.condition-2.train"].inputs()["worker_pool_specs"]
    assert pool["machine_spec"] == {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "2x2"}


def test_without_dataflow_beam_works_in_its_task(tmp_path: Path) -> None:
    old = "[vertex.dataflow]" + OPTIONS.read_text().partition("[vertex.dataflow]")[2].partition("[vertex.endpoint]")[0]
    found = {t.where: t for t in read_spec(str(compile_with(tmp_path, old, ""))).tasks()}
    assert found["exit-handler-1.preprocess"].inputs()["runner"] == ""


def test_names_of_models_and_endpoints() -> None:
    options = VertexOptions(project="my-project", location="europe-west1")
    name = resource_name(options, "endpoints", "birth_weight")
    assert name == "projects/my-project/locations/europe-west1/endpoints/birth-weight"
    with pytest.raises(UsageError, match="not valid on Vertex AI"):
        resource_name(options, "models", "weight_")


def test_the_accelerators_of_the_table_are_those_of_the_api() -> None:
    from google.cloud import aiplatform_v1

    from headrace.pipelines.platforms import vertex_rules

    known = {one.name for one in aiplatform_v1.AcceleratorType} - {"ACCELERATOR_TYPE_UNSPECIFIED"}
    # One that is no more to be had, and names of TPUs whose machine types have them built in.
    left = {"NVIDIA_TESLA_K80", "TPU_V4_POD", "TPU_V5_LITEPOD"}
    table = vertex_rules.table()["accelerators"]
    assert set(table) == known
    assert {name for name, counts in table.items() if not counts} == left


def test_an_edited_label_changes_no_task_that_is_cached(tmp_path: Path, tasks: dict[str, SpecTask]) -> None:
    path = tmp_path / "vertex.toml"
    path.write_text(OPTIONS.read_text().replace('team = "growth"', 'team = "retention", cost = "9"'))
    spec = tmp_path / "static.yaml"
    compile_to("static", "vertex", str(spec), options_file=str(path))
    relabelled = {task.where.rpartition(".")[2]: task for task in read_spec(str(spec)).tasks()}
    leaves = {name: task for name, task in tasks.items() if "executorLabel" in task.component}
    changed = {name for name, task in leaves.items() if task != relabelled[name]}
    cached = {name for name, task in leaves.items() if task.spec["cachingOptions"]}
    assert changed == {"register", "deploy"}
    assert not changed & cached


@pytest.mark.parametrize(
    ("old", "new", "repeated"),
    [
        ("cpu = 8", "cpu = 16", {"evaluate"}),
        ("replicas = 3", "replicas = 4", {"train"}),
        ('machine_type = "n2-standard-4"', 'machine_type = "n2-standard-8"', {"preprocess"}),
        (f'beam = "{BEAM}"', f'beam = "{BEAM.replace("1" * 64, "6" * 64)}"', {"preprocess"}),
        (f'train = "{TRAIN}"', f'train = "{TRAIN.replace("2" * 64, "6" * 64)}"', {"train", "evaluate"}),
    ],
)
def test_an_edited_machine_or_image_changes_the_tasks_that_have_it(
    tmp_path: Path, path: Path, old: str, new: str, repeated: set[str]
) -> None:
    def engines(spec: Path) -> dict[str, object]:
        """What the engine's cache compares of a task besides its inputs' values: the task, and its container."""
        read = read_spec(str(spec))
        containers = dict(read.containers())
        found = {task.where.rpartition(".")[2]: task for task in read.tasks() if "executorLabel" in task.component}
        return {name: (task.spec, task.component, containers[f"exec-{name}"]) for name, task in found.items()}

    before, after = engines(path), engines(compile_with(tmp_path, old, new))
    cached = {"preprocess", "train", "evaluate"}
    assert {name for name in cached if before[name] != after[name]} == repeated
