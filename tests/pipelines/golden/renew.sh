#!/usr/bin/env bash
# Compiles the golden files of pipelines again, after an intended change: read the diff.
set -euo pipefail
cd "$(dirname "$0")/../../.."
headrace=${HEADRACE:-.venv/bin/headrace}
golden=tests/pipelines/golden
platforms=tests/pipelines/platforms
rm -f $golden/*.yaml
$headrace compile static --output $golden/static_training_local.yaml
$headrace compile batch-scoring --output $golden/batch_scoring_local.yaml
$headrace compile static --platform kubeflow --options $platforms/kubeflow.toml --output $golden/static_training_kubeflow.yaml
$headrace compile static --platform vertex --options $platforms/vertex.toml --output $golden/static_training_vertex.yaml
$headrace compile tuned --platform vertex --options $platforms/vertex.toml --output $golden/tuned_training_vertex.yaml
$headrace compile rollback --platform vertex --options $platforms/vertex.toml --output $golden/rollback_vertex.yaml
$headrace compile dynamic --output $golden/dynamic_training_local.yaml
$headrace compile dynamic --platform kubeflow --options $platforms/kubeflow.toml --output $golden/dynamic_training_kubeflow.yaml
$headrace compile dynamic --platform vertex --options $platforms/vertex.toml --output $golden/dynamic_training_vertex.yaml
