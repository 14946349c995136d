"""Release upload: the compiled specs to a KFP registry and a bucket, and all that belongs to them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import requests  # type: ignore[import-untyped]
from kfp.registry import RegistryClient

from headrace.core import storage
from headrace.core.cloud.errors import translate_errors
from headrace.core.errors import HeadraceError, UsageError


def register(registry: str, spec: Path, tags: Sequence[str]) -> str:
    """Uploads a spec to a KFP registry.

    Args:
        registry: its URL; requests to REGION-kfp.pkg.dev use this machine's credentials.
        spec: a compiled pipeline.
        tags: of this version.

    Returns:
        The version's URL: REGISTRY/PACKAGE/sha256:DIGEST.

    Raises:
        UsageError: the registry rejects the spec, or access is denied.
        PlatformError: the registry failed.
    """
    with translate_errors("the registry", registry, "roles/artifactregistry.writer"):
        try:
            package, version = RegistryClient(host=registry).upload_pipeline(file_name=str(spec), tags=list(tags))
        except requests.HTTPError as error:
            status = error.response.status_code
            if status >= 500 or status == 429:
                raise
            raise UsageError(
                "the registry rejected the spec",
                where=registry,
                received=f"{status} {error.response.text[:300]}",
                fix="Grant the build's account roles/artifactregistry.writer, as cloudbuild/setup_project.py does"
                if status in (401, 403)
                else None,
            ) from error
    return f"{registry}/{package}/{version}"


def upload(
    specs: dict[str, Path],
    options: Path,
    problem: Path,
    materials: Sequence[Path],
    *,
    registry: str,
    bucket: str,
    revision: str,
    tag: str,
) -> dict[str, str]:
    """Uploads a release; its release.json is written last.

    Args:
        specs: compiled pipelines by name.
        options: options file of their compilation.
        problem: the Problem file.
        materials: what each image installs: IMAGE.cdx.json, in the CycloneDX format.
        registry, bucket: targets; the bucket's folders are releases/REVISION and, with a tag, releases/TAG.
        revision: a commit or a build.
        tag: of git, or "".

    Returns:
        The URL of each spec in the registry, by the pipeline's name.

    Raises:
        HeadraceError: the registry or the bucket rejected the release, or failed.
    """
    tags = [name for name in (revision, tag) if name]
    urls = {name: register(registry, spec, tags) for name, spec in specs.items()}
    images = re.findall(r"[^\s\"]+@sha256:[0-9a-f]{64}", options.read_text())
    release = {"revision": revision, "tag": tag, "images": sorted(set(images)), "specs": urls}
    for folder in (storage.join(f"gs://{bucket}", "releases", name) for name in tags):
        for name, spec in specs.items():
            storage.write_bytes(storage.join(folder, f"{name}.yaml"), spec.read_bytes())
        storage.write_bytes(storage.join(folder, "options.toml"), options.read_bytes())
        storage.write_bytes(storage.join(folder, "problem.py"), problem.read_bytes())
        for bill in materials:
            storage.write_bytes(storage.join(folder, bill.name), bill.read_bytes())
        storage.write_bytes(storage.join(folder, "release.json"), json.dumps(release, indent=1).encode())
        sys.stdout.write(f"{folder}\n")
    return urls


def main() -> int:
    """Reads the command line.

    Returns:
        0: uploaded; 2 or 75: the error's exit status, as of the `headrace` command.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipelines", nargs="+", metavar="PIPELINE")
    parser.add_argument(
        "--build", type=Path, required=True, help="Folder of PIPELINE.yaml, options.toml and IMAGE.cdx.json."
    )
    parser.add_argument("--problem", type=Path, required=True, help="Problem file.")
    parser.add_argument("--registry", required=True, metavar="URL")
    parser.add_argument("--bucket", required=True, metavar="NAME")
    parser.add_argument("--revision", required=True)
    parser.add_argument("--tag", default="")
    arguments = parser.parse_args()
    specs = {name: arguments.build / f"{name}.yaml" for name in arguments.pipelines}
    try:
        urls = upload(
            specs,
            arguments.build / "options.toml",
            arguments.problem,
            sorted(arguments.build.glob("*.cdx.json")),
            registry=arguments.registry,
            bucket=arguments.bucket,
            revision=arguments.revision,
            tag=arguments.tag,
        )
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    sys.stdout.writelines(f"{url}\n" for url in urls.values())
    return 0


if __name__ == "__main__":
    sys.exit(main())
