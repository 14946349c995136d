"""Maps the top-level folders to the installed package `headrace` and its three tiers."""

from pathlib import Path

from setuptools import Extension, find_packages, setup

# Bare `core`, `components` and `pipelines` would collide with folders that users of Kubeflow have. The package itself
# comes from `front_door`: a folder called `headrace` would shadow the installed one for whoever stands in the clone.
TIERS = ("core", "components", "pipelines")

setup(
    packages=[
        "headrace",
        *(
            name
            for tier in TIERS
            for name in (
                f"headrace.{tier}",
                *(f"headrace.{tier}.{inner}" for inner in find_packages(str(Path(__file__).parent / tier))),
            )
        ),
    ],
    package_dir={"headrace": "front_door", **{f"headrace.{tier}": tier for tier in TIERS}},
    # Where there is no compiler the package installs without it, and encodes and reads more slowly.
    ext_modules=[
        Extension(
            "headrace.core.tfrecord._native",
            ["core/tfrecord/native.c", "core/tfrecord/reader.c", "core/tfrecord/gather.c"],
            depends=["core/tfrecord/crc32c.h"],
            extra_compile_args=["-O3"],
            optional=True,
        )
    ],
    package_data={
        "headrace": ["py.typed"],
        "headrace.core": ["py.typed", "**/*.json"],
        "headrace.components": ["py.typed", "**/*.json"],
        "headrace.pipelines": ["py.typed", "**/*.json", "**/*.html", "**/*.css", "**/*.js"],
    },
)
