"""The command line: composes the other packages, holds no logic of its own."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("midstream")
except PackageNotFoundError:  # running from a checkout that was never installed
    __version__ = "0+unknown"
