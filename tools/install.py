"""Installer of a clone's environment: headrace with some extras, by uv where the package index has it, else by pip.

Usage: python tools/install.py VENV EXTRA...

It needs Python, and a package index by pip's own configuration. Where there is no GPU it installs tensorflow-cpu, whose
download is a third of TensorFlow's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
REQUIREMENTS = ROOT / "containers" / "requirements.py"
# Sections of pip's configuration: a later one wins.
_SECTIONS = ("global", "install", ":env:")


def main() -> int:
    """Installs, and returns the exit status of the installer that failed, or 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path, help="folder of the environment, created if it does not exist")
    parser.add_argument("extras", nargs="+", metavar="EXTRA", help="extras of pyproject.toml")
    arguments = parser.parse_args()
    environment: Path = arguments.venv
    if not (environment / "bin" / "python").exists():
        venv.create(environment, with_pip=True, symlinks=True)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "requirements.txt")
        listed.write_text(requirements(arguments.extras, "tensorflow-cpu" if cpu_only(environment) else "tensorflow"))
        options = ["--quiet", "--constraint", str(CONSTRAINTS)]
        dependencies = [*options, "--requirement", str(listed)]
        # tensorflow-cpu is what the package needs, but not by that name.
        package = [*options, "--no-deps", "--editable", str(ROOT)]
        return install(environment, dependencies) or install(environment, package)


def requirements(extras: Sequence[str], tensorflow: str) -> str:
    """The requirements of the bare package and of extras, one per line.

    Args:
        extras: of pyproject.toml.
        tensorflow: the distribution of TensorFlow.
    """
    command = [sys.executable, str(REQUIREMENTS), *extras, "--project", str(ROOT / "pyproject.toml")]
    done = subprocess.run([*command, "--tensorflow", tensorflow], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def cpu_only(environment: Path) -> bool:
    """Whether to install tensorflow-cpu: on a system that it is built for, without a GPU or an installed TensorFlow."""
    if sys.platform != "linux":
        return False
    installed = any(environment.glob("lib/python*/site-packages/tensorflow-[0-9]*.dist-info"))
    return not installed and shutil.which("nvidia-smi") is None and not Path("/dev/nvidia0").exists()


def install(environment: Path, arguments: Sequence[str]) -> int:
    """Installs by uv, or by pip where uv is not there or fails, and returns the exit status."""
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    uv = environment / "bin" / "uv"
    if not uv.exists():
        command = [*pip, "install", "--quiet", "--constraint", str(CONSTRAINTS), "uv"]
        subprocess.run(command, check=False, capture_output=True)
    if uv.exists():
        settings = pip_settings(pip)
        also = ["--constraint", settings["constraint"]] if "constraint" in settings else []
        # Compiled on all cores, as pip does on one; else the first import would, or each where Python may not write.
        command = [str(uv), "pip", "install", "--compile-bytecode", "--python", str(environment / "bin" / "python")]
        command += [*also, *arguments]
        if subprocess.run(command, check=False, env={**uv_variables(settings), **os.environ}).returncode == 0:
            return 0
        sys.stderr.write("uv failed; installing by pip\n")
    return subprocess.run([*pip, "install", *arguments], check=False).returncode


def pip_settings(pip: Sequence[str]) -> dict[str, str]:
    """Settings of pip's configuration files and environment variables by name, such as `index-url`.

    Args:
        pip: the command.
    """
    listed = subprocess.run([*pip, "config", "list"], check=False, stdout=subprocess.PIPE, text=True).stdout
    settings: dict[str, str] = {}
    for section in _SECTIONS:
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                settings[name.removeprefix(f"{section}.")] = value.strip("'\"")
    return settings


def uv_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Environment variables by which uv, which does not read pip's configuration, uses the same package index.

    Args:
        settings: of pip, by name.
    """
    variables: dict[str, str] = {}
    if index := settings.get("index-url"):
        variables["UV_DEFAULT_INDEX"] = index
    if indexes := _existing(settings.get("extra-index-url", "")):
        variables["UV_INDEX"] = " ".join(indexes)
        # As pip does: the best version of all indexes.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if links := _existing(settings.get("find-links", "")):
        variables["UV_FIND_LINKS"] = ",".join(links)
    for name, variable in (
        ("cert", "SSL_CERT_FILE"),
        ("timeout", "UV_HTTP_TIMEOUT"),
        ("default-timeout", "UV_HTTP_TIMEOUT"),
        ("trusted-host", "UV_INSECURE_HOST"),
    ):
        if value := settings.get(name):
            variables[variable] = value
    return variables


def _existing(addresses: str) -> list[str]:
    """Addresses without local folders that do not exist: pip ignores them, uv refuses them."""

    def exists(address: str) -> bool:
        parts = urlsplit(address)
        return parts.scheme not in ("", "file") or Path(url2pathname(parts.path)).exists()

    return [address for address in addresses.split() if exists(address)]


if __name__ == "__main__":
    sys.exit(main())
