"""The files of the live page, and what a browser may do with them."""

import re
from pathlib import Path
from typing import Any

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]+)"')


class PageFiles(StaticFiles):
    """The policy is the page's own; that no other site may frame it, only a header can say."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)
        own = _POLICY.search((folder / "index.html").read_text())
        self._headers = {
            # Asked for again each time, mostly answered by 304: after an upgrade no old script meets a new one.
            "Cache-Control": "no-cache",
            "Content-Security-Policy": (f"{own[1]}; " if own else "") + "frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
        }

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """A file, or that it has not changed."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(self._headers)
        return response
