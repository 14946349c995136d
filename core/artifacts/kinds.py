"""Artifact kinds: how each kind of output of headrace is distinguished from files of the user."""

from __future__ import annotations

from headrace.core.storage.output_check import Artifact, OpenFolder, StateFolder, TextFile

_SPLITS = ("train", "eval", "test")

EXAMPLES = Artifact(
    "Examples",
    "Examples",
    "manifest.json",
    frozenset({"schema.json", "statistics.json", "quarantine", "sketches", "spans", "appended", *_SPLITS}),
)
MODEL = Artifact("Model", "a Model", "training.json", frozenset())
EVALUATION = Artifact("Evaluation", "an Evaluation", "evaluation.json", frozenset())
MONITORING = Artifact("Monitoring", "a Monitoring", "monitoring.json", frozenset({"alarms.jsonl", "monitoring.html"}))
PREDICTIONS = Artifact("Predictions", "Predictions", "manifest.json", frozenset({"quarantine"}))
QUARANTINE = Artifact("Quarantine", "a quarantine", "manifest.json", frozenset({"quarantine"}))

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
