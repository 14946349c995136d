"""What is installed into a clone's environment, and from which package index."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "tools" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def would_run(target: str, environment: Path) -> str:
    command = ["make", "--dry-run", f"VENV={environment}", target]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_uv_uses_the_index_of_pip(install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = https://mirror.example/simple\nextra-index-url = file://{tmp_path} file:///missing\n"
        f"cert = {tmp_path}/ca.pem\ntimeout = 7\n[install]\nfind-links = {tmp_path}/missing {tmp_path}\n"
    )
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "mirror.example")
    assert install.uv_variables(install.pip_settings([sys.executable, "-m", "pip"])) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": f"file://{tmp_path}",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": str(tmp_path),
        "SSL_CERT_FILE": f"{tmp_path}/ca.pem",
        "UV_HTTP_TIMEOUT": "7",
        "UV_INSECURE_HOST": "mirror.example",
    }
    monkeypatch.setenv("PIP_INDEX_URL", "https://nearer.example/simple")
    nearer = install.uv_variables(install.pip_settings([sys.executable, "-m", "pip"]))
    assert nearer["UV_DEFAULT_INDEX"] == "https://nearer.example/simple"


def test_without_settings_of_pip_uv_has_its_own(install: ModuleType) -> None:
    assert install.uv_variables({}) == {}


def test_a_machine_without_a_gpu_gets_tensorflow_for_cpus(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    if not Path("/dev/nvidia0").exists():
        assert install.cpu_only(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not install.cpu_only(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "lib/python3.11/site-packages/tensorflow-2.21.0.dist-info").mkdir(parents=True)
    # Both have the same files: one in the place of the other would leave a damaged package.
    assert not install.cpu_only(tmp_path)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not install.cpu_only(tmp_path / "new")


def test_tensorflow_for_cpus_takes_the_place_of_the_other(install: ModuleType) -> None:
    for extras in (["train", "serve"], ["dev"]):
        names = [line.split(">")[0] for line in install.requirements(extras, "tensorflow-cpu").splitlines()]
        assert "tensorflow-cpu" in names
        assert "tensorflow" not in names


def test_make_run_installs_what_it_runs_and_make_test_everything_once(tmp_path: Path) -> None:
    run, test = (would_run(target, tmp_path / "venv") for target in ("run", "test"))
    assert f"tools/install.py {tmp_path}/venv beam train serve report\n" in run
    assert run.count("tools/install.py") == test.count("tools/install.py") == 1
    assert f"tools/install.py {tmp_path}/venv dev\n" in test


def test_an_environment_for_tests_also_runs_the_example(tmp_path: Path) -> None:
    for made in (".runs", ".ready"):
        (tmp_path / made).touch()
    assert "tools/install.py" not in would_run("run", tmp_path) + would_run("test", tmp_path)


def test_the_docs_list_every_extra() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert sorted(listed) == sorted(PROJECT["optional-dependencies"])
