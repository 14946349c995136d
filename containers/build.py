"""Image build by the container engine of this machine, with a report of the images that failed."""

from __future__ import annotations

import argparse
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = "HEADRACE_CONTAINER_ENGINE"
HOW_TO_GET_ONE = (
    f"Install Docker, or set {ENGINE} to the command of another engine, such as podman; for a remote engine, set "
    "DOCKER_HOST"
)

# Build arguments of the Dockerfile, from environment variables that make passes.
TAKEN = ("PYTHON_IMAGE", "BEAM_SDK_IMAGE", "WORKER_USER", "TRAINER_USER", "PIP_INDEX_URL")
# Those that name an image, and the image that needs one; the base is needed by all.
BASES = {"PYTHON_IMAGE": "", "BEAM_SDK_IMAGE": "beam-worker"}
NO_BASE = "the base image cannot be pulled"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Maximum seconds for a registry's answer: without it, images are built from the tag.
_REGISTRY_S = 60.0
# Seconds between two lines about an image that is being built, and bytes of its log that are searched for the last one.
_REPORT_S, _TAIL = 60.0, 4096
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


def bases(engine: Sequence[str], images: Sequence[str]) -> dict[str, str]:
    """The base images of some images by their build arguments, each with the digest that its tag has now.

    A tag may move while images are built: all of them have the same base. Where the engine has no buildx, or the
    registry does not respond, a name stays as it is.
    """
    found = {}
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", (ROOT / "containers" / "Dockerfile").read_text(), re.MULTILINE))
    for argument, only in BASES.items():
        if not only or only in images:
            name = os.environ.get(argument) or defaults[argument]
            digest = "" if "@" in name else _digest(engine, name)
            found[argument] = f"{name}@{digest}" if digest else name
    return found


def _digest(engine: Sequence[str], name: str) -> str:
    command = [*engine, "buildx", "imagetools", "inspect", name, "--format", "{{.Manifest.Digest}}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_REGISTRY_S)
    except subprocess.TimeoutExpired:
        return ""
    digest = answer.stdout.strip()
    return digest if answer.returncode == 0 and _DIGEST.fullmatch(digest) else ""


def build(
    engine: Sequence[str],
    image: str,
    tag: str,
    arguments: Sequence[str],
    log: Path,
    *,
    report: Callable[[float, str], object] = lambda _seconds, _line: None,
    every_s: float = _REPORT_S,
) -> str:
    """Builds one image.

    Args:
        engine: the engine's command.
        image: one of IMAGES.
        tag: name of the image.
        arguments: further arguments of the engine's `build`.
        log: file of the engine's output.
        report: called while it is built, with the seconds so far and the last line of the log.
        every_s: seconds between two such calls.

    Returns:
        The cause of a failure, in one line; "" on success.
    """
    command = [*engine, "build", "--file", "containers/Dockerfile", "--target", image, "--tag", tag]
    command += ["--build-arg", f"VERSION={version()}", "--build-arg", f"REVISION={revision()}", *arguments, "."]
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            while (status := _status(process, every_s)) is None:
                report(time.monotonic() - begin, _last_line(log))
        except BaseException:
            process.kill()
            raise
    return "" if status == 0 else _reason(log.read_text(errors="replace"))


def _status(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status of a process; None where it still runs after some seconds."""
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:120] if lines else "no output yet"


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
    images = options.images or IMAGES
    from_images = bases(engine, images)
    for name in from_images.values():
        _print(f"from {name}" if "@" in name else f"from {name}, whose digest is not known: a tag may move")
    given = {**{name: os.environ[name] for name in TAKEN if os.environ.get(name)}, **from_images}
    arguments = [*options.option, *(f"--build-arg={name}={value}" for name, value in given.items())]
    missing = 0
    for name in images:
        tag, log, begin = f"{options.prefix}{name}:{options.tag}", options.logs / f"{name}.log", time.monotonic()
        _print(_line(name, 0, f"starts; its log is {log}"))
        report = functools.partial(_report, name)
        reason = build(engine, name, tag, arguments, log, report=report)
        missing += bool(reason)
        outcome = f"not built: {reason} (see {log})" if reason else f"{tag}  {size_mb(engine, tag):,} MB"
        _print(_line(name, time.monotonic() - begin, outcome))
    return 1 if missing else 0


def _line(image: str, seconds: float, text: str) -> str:
    return f"{image:<12} {seconds:6.0f} s  {text}"


def _report(image: str, seconds: float, last: str) -> None:
    _print(_line(image, seconds, f"... {last}"))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def size_mb(engine: Sequence[str], tag: str) -> int:
    """Unpacked size of an image, in megabytes (10**6 bytes)."""
    command = [*engine, "image", "inspect", "--format", "{{.Size}}", tag]
    return round(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
