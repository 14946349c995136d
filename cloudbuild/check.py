"""Substitution check, the first step of a build: refuses invalid values before any of them reaches a command."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
_HOST = r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_IMAGE = rf"({_HOST}/)?[a-z0-9][a-z0-9._/-]*(:{_TAG})?(@sha256:[0-9a-f]{{64}})?"
_WORDS = r"[a-z][a-z0-9-]*( [a-z][a-z0-9-]*)*"
# Relative, and within the source: no part of it begins with a dot or a dash.
_PATH = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*"
_FIELD = r"[0-9A-Za-z*][0-9A-Za-z*/,-]*"

# Pattern of each substitution, and its description.
RULES = {
    "PROJECT_ID": (r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]", "a project's id"),
    "BUILD_ID": (r"[0-9a-f-]{36}", "a build's id"),
    "COMMIT_SHA": (r"([0-9a-f]{40})?", "a commit's whole hash"),
    "TAG_NAME": (rf"({_TAG})?", "a tag that images can have too: letters, digits, _, . and -"),
    "_ACTION": (r"none|submit|schedule", "none, submit or schedule"),
    "_SUBMIT": (r"[a-z][a-z0-9-]*", "a pipeline's name"),
    "_PIPELINES": (_WORDS, "names of pipelines, with blanks between them"),
    "_PROBLEM": (rf"{_PATH}\.py", "the path of a Problem file in the source"),
    "_DATA": (
        r"((gs|bigquery)://[A-Za-z0-9][A-Za-z0-9._~/*?=+@,:-]*)?",
        "gs://... or bigquery://... in letters, digits and ._~/*?=+@,:-",
    ),
    "_CRON": (rf"{_FIELD}( {_FIELD}){{4}}", 'five fields, such as "0 3 * * 1"'),
    "_TIME_ZONE": (r"[A-Za-z][A-Za-z0-9_+/-]*", "a time zone, such as Europe/Berlin"),
    "_OPTIONS": (rf"{_PATH}\.toml", "the path of a TOML file in the source"),
    "_TEST": (r"yes|no", "yes or no"),
    "_SCAN": (r"no|HIGH|CRITICAL", "no, HIGH or CRITICAL"),
    "_IMAGES": (_WORDS, "names of images, with blanks between them"),
    "_REGION": (r"[a-z]+(-[a-z]+)+[0-9]+", "a region, such as europe-west1"),
    "_REPOSITORY": (r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "the name of a repository for images"),
    "_SPEC_REPOSITORY": (r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "the name of a repository for specs"),
    "_REGISTRY": (rf"{_HOST}(/[a-z0-9][a-z0-9._-]*)+", "REGION-docker.pkg.dev/PROJECT/REPOSITORY"),
    "_SPECS": (rf"https?://{_HOST}(/[a-z0-9][a-z0-9:._-]*)*", "https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY"),
    "_BUCKET": (r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", "a bucket's name, without gs://"),
    "_RUN_AS": (r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com", "NAME@PROJECT.iam.gserviceaccount.com"),
    "_API_ENDPOINT": (rf"(https?://{_HOST})?", "https://HOST"),
    "_PYTHON": (_IMAGE, "an image"),
    "_DOCKER": (_IMAGE, "an image"),
    "_GCLOUD": (_IMAGE, "an image"),
    "_PYTHON_IMAGE": (_IMAGE, "an image"),
    "_BEAM_SDK_IMAGE": (_IMAGE, "an image"),
    "_WORKER_USER": (r"[0-9]{1,9}:[0-9]{1,9}", "USER:GROUP in numbers, such as 0:0"),
    "_TRAINER_USER": (r"[0-9]{1,9}:[0-9]{1,9}", "USER:GROUP in numbers, such as 0:0"),
    "_RELEASE": (_TAG, "a tag, or a commit's whole hash"),
    "_EVENT": (r"[A-Z_]*", "the kind of a storage event"),
}
# Substitutions that Cloud Build adds to a build of a pull request.
_ADDED = re.compile(r"_(HEAD|BASE)_BRANCH|_HEAD_REPO_URL|_PR_NUMBER")
_OURS = re.compile(r"_[A-Z][A-Z0-9_]*")


def faults(environment: Mapping[str, str], images: Iterable[str]) -> list[str]:
    """Lists the errors of the substitutions, one line each.

    Args:
        environment: variables of a step.
        images: names of the existing images.
    """
    found = []
    for name, value in sorted(environment.items()):
        if name in RULES:
            pattern, expected = RULES[name]
            if not re.fullmatch(pattern, value):
                found.append(f"{name} must be {expected}, got {value!r}")
        elif _OURS.fullmatch(name) and not _ADDED.fullmatch(name):
            found.append(
                f"the substitution {name} does not exist; valid ones are {', '.join(n for n in RULES if n[0] == '_')}"
            )
    found += [
        f"_IMAGES: the image {image!r} does not exist; valid ones are {', '.join(images)}"
        for image in environment.get("_IMAGES", "").split()
        if image not in images
    ]
    # A build of an existing release has no _ACTION: it submits.
    if environment.get("_ACTION", "submit") != "none" and not environment.get("_DATA"):
        found.append("_DATA is required to submit a run")
    if "_PIPELINES" in environment and environment.get("_SUBMIT") not in environment["_PIPELINES"].split():
        found.append(f"_SUBMIT must be one of _PIPELINES, got {environment.get('_SUBMIT')!r}")
    return found


def load_build() -> ModuleType:
    """Loads containers/build.py, a script that lists the images."""
    spec = importlib.util.spec_from_file_location("headrace_containers_build", ROOT / "containers" / "build.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(ROOT / "containers" / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Reads the command line.

    Returns:
        0: all substitutions are valid; 2: at least one is not.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, help="File to write NAME VERSION of each of _IMAGES to.")
    arguments = parser.parse_args()
    build = load_build()
    found = faults(os.environ, build.IMAGES)
    if found:
        sys.stderr.write("This build cannot start:\n" + "".join(f"  {line}\n" for line in found))
        return 2
    if arguments.plan is not None:
        arguments.plan.parent.mkdir(parents=True, exist_ok=True)
        arguments.plan.write_text("".join(f"{name} {build.version()}\n" for name in os.environ["_IMAGES"].split()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
