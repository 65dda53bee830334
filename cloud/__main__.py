"""`python -m cloud`: the cloud service, configured by the environment."""

import sys

from cloud.settings import load
from common.errors import MidstreamError, SettingsError


def main() -> int:
    """Serve; 2 is the exit status of a bad setting, 1 of a cloud that cannot start."""
    try:
        settings = load()
        from cloud.app import run  # after the settings, so that a bad one is said at once

        run(settings)
    except MidstreamError as e:
        sys.stderr.write(f"midstream cloud: {e}\n")
        return 2 if isinstance(e, SettingsError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
