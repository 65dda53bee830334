"""A source opened with PyAV, and its frames one after the other. Every error of FFmpeg's becomes a sentence here.

FFmpeg's own messages name the file or URI, password and all: only what is said about the number of the error is kept.
"""

import errno
import ssl
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.errors import MidstreamError
from edge.streams.address import Address, Kind
from edge.streams.clock import interval_of

OPEN_S = 10.0
"""For the connection and the first description of what comes."""
READ_S = 10.0
"""Without a packet: then the source is taken to have stopped. So long a thread may outlive its stream."""
FRUITLESS_S = 20.0
"""With packets, but without a frame that can be decoded."""
_FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,h264,hevc,m4v,mjpeg,ivf,obu,av1,nut,mxf,gif"
"""Of files. None that names other files: playlists and the like."""
_OPTIONS: dict[Kind, dict[str, str]] = {
    Kind.FILE: {"protocol_whitelist": "file", "format_whitelist": _FORMATS},
    # TCP first: a datagram that is lost damages pictures until the next key frame.
    Kind.RTSP: {"protocol_whitelist": "rtsp,rtp,tcp,udp", "rtsp_flags": "prefer_tcp"},
    Kind.HTTP: {"protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy"},
    Kind.WEBCAM: {},
}
_NO_TIMESTAMPS = 0x80
"""FFmpeg's AVFMT_NOTIMESTAMPS: multipart JPEG, raw streams of MPEG's codecs."""


class SourceError(MidstreamError):
    """Why a source does not play. Another try may succeed."""


class Video:
    """`with Video(address, max_pixels) as video: for frame in video.frames(): ...`. Raises SourceError."""

    def __init__(self, address: Address, max_pixels: int = 1 << 26) -> None:
        self.undecodable = 0
        """Packets and frames that were left out."""
        self._container = _open(address)
        try:
            self._stream = self._prepared(max_pixels)
        except BaseException:
            self._container.close()
            raise
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.interval = interval_of(float(rate) if rate else None)
        """Seconds between two frames, as far as the source says."""
        duration = self._container.duration
        self.seconds = None if duration is None else duration / av.time_base
        """How long it takes, as far as the source says."""
        self.recorded = address.kind is Kind.FILE or (address.kind is Kind.HTTP and duration is not None)
        """Whether it is read as fast as one likes and comes to an end."""
        self.stamped = not self._container.format.flags & _NO_TIMESTAMPS
        """Whether its frames' times are its own. Where the format has none, FFmpeg makes them up: 25 frames a second,
        whatever the camera's pace is."""
        self.codec = self._stream.codec_context.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def _prepared(self, max_pixels: int) -> VideoStream:
        if not self._container.streams.video:
            raise SourceError("it has no video")
        stream = self._container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise SourceError(f"its pictures have {width}x{height} pixels, more than MIDSTREAM_EDGE_MAX_PIXELS")
        # FFmpeg holds later sizes against this before it allocates. One thread a stream: more of them decode no more
        # streams, and each would hold a frame back.
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        stream.codec_context.thread_count = 1
        return stream

    def frames(self) -> Iterator[VideoFrame]:
        """All frames that can be decoded, to the end. Raises SourceError when they stop or make no sense."""
        fruitless = time.monotonic()
        try:
            for packet in self._container.demux(self._stream):
                for frame in self._decoded(packet):
                    yield frame
                    fruitless = time.monotonic()
                if time.monotonic() - fruitless > FRUITLESS_S:
                    raise SourceError(f"nothing of what comes could be decoded for {FRUITLESS_S:.0f} s")
        except av.FFmpegError as e:
            raise SourceError(sentence(e)) from None

    def _decoded(self, packet: "av.Packet[VideoStream]") -> list[VideoFrame]:
        try:
            frames = packet.decode()
        except av.EOFError:
            return []
        except av.FFmpegError:
            self.undecodable += 1
            return []
        sound = [frame for frame in frames if not frame.is_corrupt]
        self.undecodable += len(frames) - len(sound)
        return sound


def _open(address: Address) -> InputContainer:
    target = address.opened()
    form = "v4l2" if address.kind is Kind.WEBCAM else None
    secure = target.lower().startswith("https:")
    options = _OPTIONS[address.kind] | (_trust() if secure else {})
    try:
        return av.open(target, format=form, options=options, timeout=(OPEN_S, READ_S))
    except av.FFmpegError as e:
        untrusted = ", or a certificate that is not trusted" if secure and e.errno == errno.EIO else ""
        raise SourceError(sentence(e) + untrusted) from None
    except (OSError, ValueError) as e:
        raise SourceError(f"it cannot be opened: {type(e).__name__}") from None


def _trust() -> dict[str, str]:
    """Certificates are verified, by the system's authorities. FFmpeg's own default is not to, and to know none."""
    authorities = ssl.get_default_verify_paths().cafile
    return {"tls_verify": "1"} | ({"ca_file": authorities} if authorities else {})


def sentence(error: av.FFmpegError) -> str:
    """What FFmpeg found, without the URI."""
    if isinstance(error, av.ExitError):
        return f"nothing came for {READ_S:g} s"
    if isinstance(error, av.InvalidDataError):
        return "what comes is no video that can be read"
    if isinstance(error, av.ArgumentError):
        return "it is no format of video that is played"
    return (error.strerror or type(error).__name__).strip()
