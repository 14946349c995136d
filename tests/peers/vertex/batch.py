"""Batch prediction jobs as Vertex AI runs them: instances in batches to the model's container, results to a bucket.

The container is our own server's request handling on the uploaded SavedModel. As on Vertex, results come in several
files, not in the order of the instances, and of the instances of a refused batch the errors file tells only what was
said and how many they were, as a Python tuple. A table of BigQuery is read from the emulator's.
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.cloud import storage
from peers.vertex.resources import invalid
from peers.vertex.service import Vertex

from headrace.core.cloud import bigquery

_DEFAULT_BATCH = 64
_FILES = 3
# What BigQuery's values are in JSON as they are in Python; the others are strings.
_PLAIN = (bool, int, float, str)

# A container: the body of a request to the body of its answer; it raises for what it answers with an error.
Container = Callable[[bytes], bytes]


class ContainerRefuses(Exception):
    """A container answers a request with a status other than 200; other errors that it raises are 400."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status


def run(vertex: Vertex, job: Any, container_of: Callable[[Path], Container] | None = None) -> None:
    """Does the work of a job, and fills in its output."""
    client = storage.Client(project="demo-project")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            model = _model(vertex, job)
            _download(client, model.artifact_uri, Path(scratch))
            container = (container_of or our_server)(Path(scratch))
            answered, failed = _predict(job, _instances(client, job), container)
        _write(client, job, model, answered, failed)
    finally:
        client.close()


def our_server(folder: Path) -> Container:
    """What the serving image answers for a Model at a folder."""
    from support import serving

    from headrace.components.serve.app import refusal
    from headrace.core.saved_model.json.rows import NoPrediction

    model = serving.load(folder)

    def answer(body: bytes) -> bytes:
        try:
            return serving.answer(model, body, columnar=False, max_instances=100_000)
        except NoPrediction as error:
            raise ContainerRefuses(422, refusal(error).decode()) from error

    return answer


def _model(vertex: Vertex, job: Any) -> Any:
    """The model of a job; that it is there, was seen when the job was created."""
    if not job.model:
        return job.unmanaged_container_model
    model = vertex.model(job.model)
    job.model_version_id = model.version_id
    return model


def _download(client: Any, uri: str, folder: Path) -> None:
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    found = list(client.list_blobs(bucket, prefix=prefix.rstrip("/") + "/"))
    if not found:
        raise invalid(f"There is nothing at {uri}")
    for blob in found:
        target = folder / blob.name[len(prefix.rstrip("/")) + 1 :]
        target.parent.mkdir(parents=True, exist_ok=True)
        blob.download_to_filename(str(target))


def _instances(client: Any, job: Any) -> Iterator[Any]:
    if job.input_config.instances_format == "bigquery":
        yield from _table(job.input_config.bigquery_source.input_uri, set(job.instance_config.excluded_fields))
        return
    if job.input_config.instances_format != "jsonl":
        raise invalid(f"This server reads jsonl and bigquery alone, not {job.input_config.instances_format}")
    for uri in job.input_config.gcs_source.uris:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if "*" in name:
            among = client.list_blobs(bucket, prefix=name.partition("*")[0])
            blobs = [blob for blob in among if fnmatch.fnmatchcase(blob.name, name)]
        else:
            blobs = [client.bucket(bucket).blob(name)]
        for blob in blobs:
            for line in blob.download_as_bytes().splitlines():
                if line.strip():
                    yield json.loads(line)


def _table(uri: str, excluded: set[str]) -> Iterator[dict[str, Any]]:
    """An object a row, of the types that the service documents; what it makes of NULL, it does not say."""
    name = uri.removeprefix("bq://")
    client = bigquery.client(name.split(".")[0])
    try:
        table = client.get_table(name)
        if table.table_type != "TABLE":
            raise invalid(f"This server reads tables alone, and {uri} is a {table.table_type}")
        for row in client.list_rows(table):
            given = {name: value for name, value in row.items() if name not in excluded}
            if None in given.values():
                raise invalid(f"A row of {uri} holds NULL")
            yield {name: value if isinstance(value, _PLAIN) else str(value) for name, value in given.items()}
    finally:
        client.close()


def _predict(job: Any, instances: Iterator[Any], container: Container) -> tuple[list[Any], list[tuple[str, int]]]:
    """A line for each instance that has a prediction, and what the container said of how many others."""
    size = job.manual_batch_tuning_parameters.batch_size or _DEFAULT_BATCH
    config = job.instance_config
    answered: list[Any] = []
    failed: list[tuple[str, int]] = []
    while batch := list(itertools.islice(instances, size)):
        sent = [_transformed(instance, config) for instance in batch]
        try:
            answer = json.loads(container(json.dumps({"instances": sent}).encode()))["predictions"]
            if len(answer) != len(batch):
                raise ValueError(f"{len(answer)} predictions for {len(batch)} instances")
        except Exception as error:  # whatever the container says is said in the errors file
            status = error.status if isinstance(error, ContainerRefuses) else 400
            begin = "Post request fails. Cannot get predictions. Error: Exceeded retries: Non-OK result"
            said = f"{begin} {status} ({error})."
            failed.append((said, len(batch)))
            continue
        for instance, prediction in zip(batch, answer, strict=True):
            what = {"key": instance[config.key_field]} if config.key_field else {"instance": instance}
            answered.append({**what, "prediction": prediction})
    return answered, failed


def _transformed(instance: Any, config: Any) -> Any:
    if not isinstance(instance, dict):
        return instance
    included, excluded = list(config.included_fields), {*config.excluded_fields, config.key_field}
    kept = {k: v for k, v in instance.items() if (k in included if included else k not in excluded)}
    return list(kept.values()) if config.instance_type == "array" else kept


def _write(client: Any, job: Any, model: Any, answered: list[Any], failed: list[tuple[str, int]]) -> None:
    prefix = job.output_config.gcs_destination.output_uri_prefix.rstrip("/")
    if job.output_config.predictions_format != "jsonl":
        raise invalid(f"This server writes jsonl alone, not {job.output_config.predictions_format}")
    stamp = job.create_time.strftime("%Y_%m_%dT%H_%M_%S_000Z")
    folder = f"{prefix}/prediction-{getattr(model, 'display_name', '')}-{stamp}"
    bucket, _, path = folder.removeprefix("gs://").partition("/")
    shares = [answered[number::_FILES] for number in range(_FILES)]
    files = {
        f"prediction.results-{number:05}-of-{_FILES:05}": "".join(f"{json.dumps(row)}\n" for row in rows)
        for number, rows in enumerate(shares)
    }
    files["prediction.errors_stats-00000-of-00001"] = "".join(f"{said!r}\n" for said in failed)
    for name, content in files.items():
        client.bucket(bucket).blob(f"{path}/{name}").upload_from_string(content)
    job.output_info.gcs_output_directory = folder
    job.completion_stats.successful_count = len(answered)
    job.completion_stats.failed_count = sum(count for _, count in failed)
    if failed and not answered:
        raise invalid("No prediction was made: every batch failed")
