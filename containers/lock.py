"""Locks of the images: every package that an image installs, with its version and the hashes of its files.

An image installs its lock by `pip install --require-hashes`: what an index serves under a known name and version is
what was tested, or it is refused. The packages are those of pyproject.toml, pinned by constraints.txt and by the file
of a kind of machine, whose pins win. Run it after any of these changed; it needs a package index, and uv.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from containers.requirements import requirements

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "containers" / "locks"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==")
_DIGEST = "# Inputs: sha256:"


@dataclass(frozen=True)
class Packages:
    """The packages of an image.

    Attributes:
        extras: of pyproject.toml.
        tensorflow: the distribution that replaces tensorflow.
        constraints: file beside this one whose pins win over those of constraints.txt; "" for none.
    """

    extras: tuple[str, ...]
    tensorflow: str
    constraints: str = ""


# A worker of Beam installs the lock of `beam`.
IMAGES: Mapping[str, Packages] = {
    # Its light tasks include announcements, also to Kafka.
    "beam": Packages(("beam", "train", "s3", "kafka"), "tensorflow-cpu"),
    "trainer": Packages(("train", "tune", "s3"), "tensorflow-cpu"),
    "trainer-gpu": Packages(("train", "tune", "s3"), "tensorflow[and-cuda]", "constraints-cuda.txt"),
    "trainer-tpu": Packages(("train", "tune", "s3"), "tensorflow-tpu>=2.20,<2.22", "constraints-tpu.txt"),
    "server": Packages(("serve", "s3"), "tensorflow-cpu"),
    "stream": Packages(("serve", "kafka", "s3"), "tensorflow-cpu"),
}


def inputs(image: str) -> tuple[str, str]:
    """The requirements and the constraints of an image, each as the text of a requirements file."""
    packages = IMAGES[image]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = requirements(project, packages.extras, packages.tensorflow)
    pins = _pins(ROOT / "constraints.txt")
    if packages.constraints:
        pins |= _pins(ROOT / "containers" / packages.constraints)
    return "".join(f"{line}\n" for line in wanted), "".join(f"{pins[name]}\n" for name in sorted(pins))


def digest(image: str) -> str:
    """The line of a lock that names what it was made of."""
    return _DIGEST + hashlib.sha256("\0".join(inputs(image)).encode()).hexdigest()


def is_current(image: str) -> bool:
    """Whether the lock of an image was made of today's requirements and constraints."""
    lock = LOCKS / f"{image}.txt"
    return lock.exists() and digest(image) in lock.read_text().splitlines()[:3]


def write(image: str, uv: str) -> None:
    """Resolves the packages of an image, and writes its lock.

    Raises:
        subprocess.CalledProcessError: the packages do not fit together, or the index does not answer.
    """
    wanted, pins = inputs(image)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("wanted", wanted), ("pins", pins)):
            (Path(folder) / name).write_text(content)
        command = [uv, "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--generate-hashes"]
        command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_31", "--constraint", "pins"]
        solved = subprocess.run([*command, "wanted"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    LOCKS.mkdir(exist_ok=True)
    made_by = f"# Written by containers/lock.py, for the image {image} on 64-bit Intel and AMD processors.\n"
    (LOCKS / f"{image}.txt").write_text(f"{made_by}{digest(image)}\n{solved}")


def _pins(file: Path) -> dict[str, str]:
    lines = (line.strip() for line in file.read_text().splitlines())
    return {_normal(found["name"]): line for line in lines if (found := _PIN.match(line))}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Reads the command line.

    Returns:
        0: the locks are written, or current; 1: one is not; 2: uv is missing.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)} (default: all).")
    parser.add_argument("--check", action="store_true", help="Write nothing; say which locks are not current.")
    options = parser.parse_args()
    chosen = options.images or list(IMAGES)
    if unknown := set(chosen) - set(IMAGES):
        parser.error(f"the image {', '.join(sorted(unknown))} has no lock; valid ones are {', '.join(IMAGES)}")
    stale = [image for image in chosen if not is_current(image)]
    if options.check:
        sys.stderr.writelines(f"containers/locks/{image}.txt is not current: run `make locks`\n" for image in stale)
        return 1 if stale else 0
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.stderr.write("uv is not installed. Install it: pip install uv\n")
        return 2
    for image in chosen:
        write(image, uv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
