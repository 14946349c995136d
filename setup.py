"""Maps the top-level folders to the installed packages `headrace.components` and `headrace.pipelines`."""

from pathlib import Path

from setuptools import Extension, find_packages, setup

# `headrace` itself stays an implicit namespace package: a folder of that name at the root would shadow the
# installed one, and bare `components` and `pipelines` would collide with folders that Kubeflow users have.
ROOMS = ("components", "pipelines")

setup(
    packages=[
        name
        for room in ROOMS
        for name in (
            f"headrace.{room}",
            *(f"headrace.{room}.{inner}" for inner in find_packages(str(Path(__file__).parent / room))),
        )
    ],
    package_dir={f"headrace.{room}": room for room in ROOMS},
    # Where there is no compiler the package installs without it, and encodes and reads more slowly.
    ext_modules=[
        Extension(
            "headrace.components.tfrecord._native",
            ["components/tfrecord/native.c", "components/tfrecord/reader.c"],
            depends=["components/tfrecord/crc32c.h"],
            extra_compile_args=["-O3"],
            optional=True,
        )
    ],
    package_data={
        "headrace.components": ["py.typed", "**/*.json"],
        "headrace.pipelines": ["py.typed", "**/*.json", "**/*.html", "**/*.css", "**/*.js"],
    },
)
