"""Compiles every src/eim/_fast/*.pyx; everything else about the package is in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

_FAST = Path("src/eim/_fast")  # relative to this file, as build back ends run it here

extensions = [Extension(f"eim._fast.{source.stem}", [source.as_posix()]) for source in sorted(_FAST.glob("*.pyx"))]

setup(ext_modules=cythonize(extensions, include_path=["src"], language_level=3) if extensions else [])
