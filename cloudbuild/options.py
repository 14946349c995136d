"""Platform options of a build: fills in the project, the region, and the images by their digests."""

from __future__ import annotations

import argparse
import json
import os
import string
import sys
from collections.abc import Mapping
from pathlib import Path

NAMES = ("PROJECT_ID", "_REGION", "_BUCKET", "_RUN_AS")


def digests(build: Path, registry: str) -> dict[str, str]:
    """The images that a build pushed: IMAGE_NAME and REGISTRY/name@sha256:...

    Args:
        build: folder with buildx's NAME.json of each image, and the plan.
        registry: prefix of the names.

    Raises:
        FileNotFoundError: an image of the plan was not pushed.
        KeyError: buildx's file has no digest.
    """
    names = [line.split()[0] for line in (build / "images").read_text().splitlines()]
    pushed = {name: json.loads((build / f"{name}.json").read_text())["containerimage.digest"] for name in names}
    return {f"IMAGE_{name.upper().replace('-', '_')}": f"{registry}/{name}@{pushed[name]}" for name in names}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replaces ${...} in a text by values.

    Raises:
        KeyError: a name has no value.
        ValueError: a $ is not followed by a name.
    """
    return string.Template(text).substitute(values)


def main() -> int:
    """Reads the command line.

    Returns:
        0: written; 2: the options have an unknown name.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", type=Path, metavar="FILE.toml")
    parser.add_argument("--build", type=Path, required=True, help="Folder of the images' digests.")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    values = {name: os.environ[name] for name in NAMES} | digests(arguments.build, os.environ["_REGISTRY"])
    try:
        arguments.output.write_text(fill(arguments.options.read_text(), values))
    except FileNotFoundError:
        sys.stderr.write(f"The options file {arguments.options} of _OPTIONS does not exist.\n")
        return 2
    except KeyError as error:
        known = ", ".join(sorted(values))
        sys.stderr.write(f"{arguments.options}: {error} is not one of {known}. An image must be in _IMAGES.\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"{arguments.options}: {error}. Write a literal $ as $$.\n")
        return 2
    for name, value in sorted(values.items()):
        sys.stdout.write(f"{name} = {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
