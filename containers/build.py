"""Builds the images with the container engine of this machine, and says which it could not build, and why."""

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
    f"Install Docker, or name the command of another engine in {ENGINE}, such as podman; where a service answers "
    "elsewhere, DOCKER_HOST says where"
)

# What the Dockerfile takes, from the environment as make passes it on.
TAKEN = ("PYTHON_IMAGE", "BEAM_SDK_IMAGE", "WORKER_USER", "PIP_INDEX_URL")
NO_BASE = "an image that it starts from cannot be had"
_PULLED = re.compile(r"registry|manifest|pull(ing|ed)?\b|no such host|dial tcp", re.IGNORECASE)


# The targets of containers/Dockerfile that are images.
IMAGES = ("beam", "beam-worker", "trainer", "trainer-gpu", "trainer-tpu", "server")


class NoEngineError(Exception):
    """There is no engine that answers; the text says what was tried."""


def find_engine() -> list[str]:
    """The command of the engine that answers.

    Raises:
        NoEngineError: there is none.
    """
    # Podman is taken only where it is named: on many machines it is there, and set up for something else.
    name = os.environ.get(ENGINE) or "docker"
    command = shlex.split(name)
    if not shutil.which(command[0]):
        raise NoEngineError(f"there is no command {command[0]}")
    asked = subprocess.run([*command, "info"], capture_output=True, text=True, check=False)
    # Some releases of the docker client end well, and report an error, where its server does not answer.
    if asked.returncode == 0 and "ERROR:" not in asked.stderr:
        return command
    raise NoEngineError(f"{name}: {(asked.stderr or asked.stdout).strip().splitlines()[-1].rstrip('.')}")


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
        tag: the name that it gets.
        arguments: more arguments of the engine's `build`.
        log: where what the engine prints goes.

    Returns:
        Why it could not be built, in one line; "" when it was.
    """
    command = [*engine, "build", "--file", "containers/Dockerfile", "--target", image, "--tag", tag]
    command += ["--build-arg", f"VERSION={version()}", "--build-arg", f"REVISION={revision()}", *arguments, "."]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    return "" if status == 0 else _reason(log.read_text(errors="replace"))


def _reason(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "no output")
    if _PULLED.search(said):
        return f"{NO_BASE}: {said}"
    return said


def main() -> int:
    """Reads the command line.

    Returns:
        0: all that was asked for was built; 1: not all of it; 2: there is no engine, or no such image.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)}; all of them by default")
    parser.add_argument("--prefix", default="headrace/", help="comes before each name: a registry (%(default)s)")
    parser.add_argument("--tag", default=version(), help="of every image (%(default)s)")
    parser.add_argument("--logs", type=Path, default=ROOT / ".out" / "images", help="folder of what engines print")
    parser.add_argument("--option", action="append", default=[], help="of the engine's build: --option=--pull")
    given = parser.parse_args()
    if unknown := set(given.images) - set(IMAGES):
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(IMAGES)}")
    try:
        engine = find_engine()
    except NoEngineError as error:
        sys.stderr.write(f"No image was built: no container engine answers ({error}). {HOW_TO_GET_ONE}.\n")
        return 2
    arguments = [*given.option, *(f"--build-arg={name}={os.environ[name]}" for name in TAKEN if os.environ.get(name))]
    missing = 0
    for name in given.images or IMAGES:
        tag, log, begin = f"{given.prefix}{name}:{given.tag}", given.logs / f"{name}.log", time.monotonic()
        reason = build(engine, name, tag, arguments, log)
        missing += bool(reason)
        said = f"not built: {reason} (see {log})" if reason else f"{tag}  {size_mb(engine, tag):,} MB"
        sys.stdout.write(f"{name:<12} {time.monotonic() - begin:6.0f} s  {said}\n")
        sys.stdout.flush()
    return 1 if missing else 0


def size_mb(engine: Sequence[str], tag: str) -> int:
    """What an image takes unpacked, in megabytes (10**6 bytes)."""
    asked = [*engine, "image", "inspect", "--format", "{{.Size}}", tag]
    return round(int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
