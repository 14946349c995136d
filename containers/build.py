"""Image build by the container engine of this machine, with a report of the images that failed."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = "HEADRACE_CONTAINER_ENGINE"
HOW_TO_GET_ONE = (
    f"Install Docker, or set {ENGINE} to the command of another engine, such as podman; for a remote engine, set "
    "DOCKER_HOST"
)

# Build arguments of the Dockerfile, from environment variables that make passes.
TAKEN = ("PYTHON_IMAGE", "BEAM_SDK_IMAGE", "WORKER_USER", "PIP_INDEX_URL")
NO_BASE = "the base image cannot be pulled"
_PULLED = re.compile(r"registry|manifest|pull(ing|ed)?\b|no such host|dial tcp", re.IGNORECASE)


# The targets of containers/Dockerfile that are images.
IMAGES = ("beam", "beam-worker", "trainer", "trainer-gpu", "trainer-tpu", "server", "stream")


class NoEngineError(Exception):
    """No container engine responds; the message has the details."""


def find_engine() -> list[str]:
    """The command of the container engine.

    Raises:
        NoEngineError: no engine responds.
    """
    # Podman is used only if ENGINE names it: on many machines it is installed, and configured for something else.
    name = os.environ.get(ENGINE) or "docker"
    command = shlex.split(name)
    if not shutil.which(command[0]):
        raise NoEngineError(f"the command {command[0]} does not exist")
    process = subprocess.run([*command, "info"], capture_output=True, text=True, check=False)
    # Some releases of the docker client exit with 0, and print an error, where the server does not respond.
    if process.returncode == 0 and "ERROR:" not in process.stderr:
        return command
    raise NoEngineError(f"{name}: {(process.stderr or process.stdout).strip().splitlines()[-1].rstrip('.')}")


def version() -> str:
    """The version of headrace in this tree."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def revision() -> str:
    """The commit of this tree; `-dirty` is added where files differ from it, and without git it is unknown."""
    described = ["git", "describe", "--always", "--abbrev=40", "--match", "-", "--dirty"]
    try:
        answer = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return answer.stdout.strip() if answer.returncode == 0 else "unknown"


def build(engine: Sequence[str], image: str, tag: str, arguments: Sequence[str], log: Path) -> str:
    """Builds one image.

    Args:
        engine: the engine's command.
        image: one of IMAGES.
        tag: name of the image.
        arguments: further arguments of the engine's `build`.
        log: file of the engine's output.

    Returns:
        The cause of a failure, in one line; "" on success.
    """
    command = [*engine, "build", "--file", "containers/Dockerfile", "--target", image, "--tag", tag]
    command += ["--build-arg", f"VERSION={version()}", "--build-arg", f"REVISION={revision()}", *arguments, "."]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    return "" if status == 0 else _reason(log.read_text(errors="replace"))


def _reason(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    message = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "no output")
    if _PULLED.search(message):
        return f"{NO_BASE}: {message}"
    return message


def main() -> int:
    """Reads the command line.

    Returns:
        0: all requested images were built; 1: an image failed; 2: no engine responds, or an image does not exist.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help=f"Images to build: {', '.join(IMAGES)} (default: all)."
    )
    parser.add_argument(
        "--prefix", default="headrace/", help="Prefix of each name, such as a registry (default: %(default)s)."
    )
    parser.add_argument("--tag", default=version(), help="Tag of every image (default: %(default)s).")
    parser.add_argument("--logs", type=Path, default=ROOT / ".out" / "images", help="Folder of the engine's logs.")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="Option of the engine's build, such as --option=--pull (repeatable).",
    )
    options = parser.parse_args()
    if unknown := set(options.images) - set(IMAGES):
        parser.error(f"the image {', '.join(sorted(unknown))} does not exist; valid ones are {', '.join(IMAGES)}")
    try:
        engine = find_engine()
    except NoEngineError as error:
        sys.stderr.write(f"No image was built: no container engine responds ({error}). {HOW_TO_GET_ONE}.\n")
        return 2
    arguments = [*options.option, *(f"--build-arg={name}={os.environ[name]}" for name in TAKEN if os.environ.get(name))]
    missing = 0
    for name in options.images or IMAGES:
        tag, log, begin = f"{options.prefix}{name}:{options.tag}", options.logs / f"{name}.log", time.monotonic()
        reason = build(engine, name, tag, arguments, log)
        missing += bool(reason)
        outcome = f"not built: {reason} (see {log})" if reason else f"{tag}  {size_mb(engine, tag):,} MB"
        sys.stdout.write(f"{name:<12} {time.monotonic() - begin:6.0f} s  {outcome}\n")
        sys.stdout.flush()
    return 1 if missing else 0


def size_mb(engine: Sequence[str], tag: str) -> int:
    """Unpacked size of an image, in megabytes (10**6 bytes)."""
    command = [*engine, "image", "inspect", "--format", "{{.Size}}", tag]
    return round(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
