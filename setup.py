"""What pyproject.toml has no settled words for: the extension in C, which is optional."""

from glob import glob

from setuptools import Extension, setup

# Where it cannot be built, the same requests are answered by Python alone, more slowly.
express = Extension(
    "service.express._express",
    sorted(glob("service/express/*.c")),
    depends=sorted(glob("service/express/*.h")),
    extra_compile_args=["-std=c11"],
    optional=True,
)

setup(ext_modules=[express])
