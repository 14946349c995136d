"""Image requirements: prints the requirements of some extras of pyproject.toml, installed before headrace itself."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_OWN_EXTRAS = re.compile(r"headrace\[(?P<extras>[^\]]+)\]\Z")


def requirements(project: Mapping[str, object], extras: Sequence[str], tensorflow: str | None) -> list[str]:
    """The requirements of the bare package and of `extras`, sorted.

    Args:
        project: the table [project] of pyproject.toml.
        extras: names of its optional dependencies; one that refers to others is expanded.
        tensorflow: the distribution that replaces tensorflow, with or without a version.

    Raises:
        KeyError: the extra does not exist.
    """
    wanted = {*project["dependencies"], *_of(project["optional-dependencies"], extras)}  # type: ignore[misc,arg-type]
    return sorted({_replaced(one, tensorflow) for one in wanted})


def _of(optional: Mapping[str, Sequence[str]], extras: Sequence[str]) -> Iterator[str]:
    for extra in extras:
        for requirement in optional[extra]:
            own = _OWN_EXTRAS.match(requirement)
            if own is None:
                yield requirement
            else:
                yield from _of(optional, own["extras"].split(","))


def _replaced(requirement: str, tensorflow: str | None) -> str:
    name = _NAME.match(requirement)
    if tensorflow is None or name is None or name[0] != "tensorflow":
        return requirement
    versioned = any(sign in tensorflow for sign in "=<>~")
    return tensorflow if versioned else tensorflow + requirement.removeprefix("tensorflow")


def main() -> None:
    """Reads the command line, and prints one requirement per line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="+")
    parser.add_argument("--project", type=Path, default=Path("pyproject.toml"), help="%(default)s")
    parser.add_argument("--tensorflow", help="Distribution that replaces tensorflow.")
    arguments = parser.parse_args()
    project = tomllib.loads(arguments.project.read_text())["project"]
    sys.stdout.writelines(f"{one}\n" for one in requirements(project, arguments.extras, arguments.tensorflow))


if __name__ == "__main__":
    main()
