"""Artifact kinds: how each kind of output of headrace is distinguished from files of the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.storage.output_check import Artifact, OpenFolder, StateFolder, TextFile

_SPLITS = ("train", "eval", "test")
_OF_EXAMPLES = frozenset({"schema.json", "statistics.json"})


def _in_files(_: str, manifest: Mapping[str, Any]) -> set[str]:
    return _paths(manifest.get("files"))


def _in_files_and_quarantine(uri: str, manifest: Mapping[str, Any]) -> set[str]:
    return _in_files(uri, manifest) | _paths(_object(manifest.get("quarantine")).get("files"))


def _in_examples(uri: str, manifest: Mapping[str, Any]) -> set[str]:
    """Shards, quarantine and sketches of Examples; those of spans are Examples in folders of their own."""
    own = _in_one(manifest)
    spans = manifest.get("spans")
    for span in spans if isinstance(spans, list) and not manifest.get("files_in") else ():
        folder = storage.join("spans", str(_object(span).get("span")))
        try:
            within = _in_one(_object(storage.read_json(storage.join(uri, folder, EXAMPLES.manifest))))
        except (DataError, OSError):
            continue
        own |= {storage.join(folder, path) for path in (EXAMPLES.manifest, *_OF_EXAMPLES, *within)}
    return own


def _in_one(manifest: Mapping[str, Any]) -> set[str]:
    own = _paths(manifest.get("sketches"))
    # The rows of a window are in the folder of spans.
    if not manifest.get("files_in"):
        own |= _paths(_object(manifest.get("quarantine")).get("files"))
        for split in _object(manifest.get("splits")).values():
            own |= _paths(_object(split).get("shards"))
    return own


def _paths(found: Any) -> set[str]:
    """The paths in a list of paths, or of objects with a path as "file"."""
    return {str(_object(each).get("file", each)) for each in found} if isinstance(found, list) else set()


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


_NOTHING: frozenset[str] = frozenset()
_QUARANTINE = frozenset({"quarantine"})
# Empty if all quarantined rows were replaced, or if a split has no rows.
_FOLDERS = frozenset({"quarantine", "sketches", "spans", "appended", *_SPLITS})
_PAGES = frozenset({"alarms.jsonl", "monitoring.html"})

EXAMPLES = Artifact("Examples", "Examples", "manifest.json", _OF_EXAMPLES, _FOLDERS, _in_examples)
MODEL = Artifact("Model", "a Model", "training.json", _NOTHING, _NOTHING, _in_files)
EVALUATION = Artifact("Evaluation", "an Evaluation", "evaluation.json", _NOTHING, _NOTHING, _in_files)
MONITORING = Artifact("Monitoring", "a Monitoring", "monitoring.json", _PAGES, _NOTHING, _in_files)
PREDICTIONS = Artifact("Predictions", "Predictions", "manifest.json", _NOTHING, _QUARANTINE, _in_files_and_quarantine)
QUARANTINE = Artifact("Quarantine", "a quarantine", "manifest.json", _NOTHING, _QUARANTINE, _in_files_and_quarantine)

REGISTRY = StateFolder("a registry", "registry.json", frozenset({"versions", "endpoints"}))
ENDPOINT = StateFolder(
    "an endpoint",
    "endpoint.json",
    frozenset({"versions", "servers", "router", "requests", "server.log", "server.log.1"}),
)
PUBLISHED = StateFolder("published predictions", "current.json", frozenset({"versions"}))
SPANS = StateFolder("spans", "_spans.json", frozenset())
DYNAMIC = StateFolder(
    "a dynamic training",
    "settings.json",
    frozenset(
        {
            "ledger.json",
            "inbox",
            "lineage",
            "epochs",
            "pipeline.yaml",
            "tick.yaml",
            "options.toml",
            "announced.json",
            "last_run.json",
        }
    ),
)
_ALL = (
    *(EXAMPLES.manifest, MODEL.manifest, EVALUATION.manifest, MONITORING.manifest),
    *(REGISTRY.state, ENDPOINT.state, PUBLISHED.state),
)
ROOT = OpenFolder("a root", frozenset({*_ALL, "saved_model.pb"}))

SPEC_HEADER = b"# Compiled by headrace.\n"
SPEC = TextFile("a pipeline spec", lambda content: content.startswith(SPEC_HEADER))
# Users edit it, so an existing file is overwritten only with `--replace`, and then whatever its content.
PROBLEM = TextFile("a Problem file", lambda _: True)
REPORT = TextFile("a report", lambda content: b'<meta name="generator" content="headrace">' in content[:4096])
LOG_HEADER = b"# headrace log\n"
LOG = TextFile("a log", lambda content: content.startswith(LOG_HEADER))
