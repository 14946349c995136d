"""Fills the build's values into the platform's options: the project, the region, and the images by their digests."""

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
        build: the folder where the images step left NAME.json, as buildx writes it, and its plan.
        registry: what comes before the names.

    Raises:
        FileNotFoundError: an image of the plan was not pushed.
        KeyError: buildx says no digest of it.
    """
    names = [line.split()[0] for line in (build / "images").read_text().splitlines()]
    pushed = {name: json.loads((build / f"{name}.json").read_text())["containerimage.digest"] for name in names}
    return {f"IMAGE_{name.upper().replace('-', '_')}": f"{registry}/{name}@{pushed[name]}" for name in names}


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with the values for ${...}.

    Raises:
        KeyError: a name that there is not.
        ValueError: a $ that names nothing.
    """
    return string.Template(text).substitute(values)


def main() -> int:
    """Reads the command line.

    Returns:
        0: written; 2: the options name what there is not.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", type=Path, metavar="FILE.toml")
    parser.add_argument("--build", type=Path, required=True, help="where the images step left its digests")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    values = {name: os.environ[name] for name in NAMES} | digests(given.build, os.environ["_REGISTRY"])
    try:
        given.output.write_text(fill(given.options.read_text(), values))
    except FileNotFoundError:
        sys.stderr.write(f"There is no options file {given.options}: _OPTIONS names it.\n")
        return 2
    except KeyError as error:
        known = ", ".join(sorted(values))
        sys.stderr.write(f"{given.options}: {error} is none of {known}. An image has to be in _IMAGES.\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"{given.options}: {error}. A $ that names nothing is written $$.\n")
        return 2
    for name, value in sorted(values.items()):
        sys.stdout.write(f"{name} = {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
