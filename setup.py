"""The one thing pyproject.toml cannot say: how the codec's C kernel is compiled."""

from pathlib import Path

from setuptools import Extension, setup

CODEC = Path("common/codec")

setup(
    ext_modules=[
        Extension(
            "common.codec._kernel",
            sources=sorted(str(path) for path in CODEC.glob("*.c")),
            depends=sorted(str(path) for path in CODEC.glob("*.h")),
            # 3.11 is the first stable ABI with the buffer protocol; one build serves every later Python.
            define_macros=[("Py_LIMITED_API", "0x030b0000")],
            py_limited_api=True,
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-ffp-contract=off"],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
