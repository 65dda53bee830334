"""An RTSP server of GStreamer's that plays a file: `/usr/bin/python3 rtsp_server.py PORT VIDEO [USER PASSWORD]`.

It is run by the system's Python, which is the one that has GStreamer's bindings, and it prints its port (0: any). Each
client gets the file from its beginning and, at its end, the end of the stream.
"""

import sys
from typing import Any


def main(port: str, video: str, *login: str) -> None:
    """Serve /live until killed."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f'( filesrc location="{video}" ! qtdemux ! rtph264pay name=pay0 pt=96 config-interval=-1 )')
    if login:
        _protect(GstRtspServer, server, factory, *login)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def _protect(gst: Any, server: Any, factory: Any, *login: str) -> None:
    auth, token = gst.RTSPAuth(), gst.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(gst.RTSPAuth.make_basic(*login), token)
    server.set_auth(auth)
    permissions = gst.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    main(*sys.argv[1:])
