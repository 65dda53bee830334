from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NackReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NACK_REASON_UNSPECIFIED: _ClassVar[NackReason]
    NACK_REASON_CORRUPT: _ClassVar[NackReason]
    NACK_REASON_UNKNOWN_BUNDLE: _ClassVar[NackReason]
    NACK_REASON_EXPIRED: _ClassVar[NackReason]
    NACK_REASON_INVALID: _ClassVar[NackReason]
    NACK_REASON_FAILED: _ClassVar[NackReason]
    NACK_REASON_MISSING_REFERENCE: _ClassVar[NackReason]

class LayerStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAYER_STATUS_UNSPECIFIED: _ClassVar[LayerStatus]
    LAYER_STATUS_OK: _ClassVar[LayerStatus]
    LAYER_STATUS_GONE: _ClassVar[LayerStatus]
    LAYER_STATUS_BUSY: _ClassVar[LayerStatus]
    LAYER_STATUS_UNKNOWN_LAYER: _ClassVar[LayerStatus]
    LAYER_STATUS_INVALID: _ClassVar[LayerStatus]
    LAYER_STATUS_FAILED: _ClassVar[LayerStatus]
NACK_REASON_UNSPECIFIED: NackReason
NACK_REASON_CORRUPT: NackReason
NACK_REASON_UNKNOWN_BUNDLE: NackReason
NACK_REASON_EXPIRED: NackReason
NACK_REASON_INVALID: NackReason
NACK_REASON_FAILED: NackReason
NACK_REASON_MISSING_REFERENCE: NackReason
LAYER_STATUS_UNSPECIFIED: LayerStatus
LAYER_STATUS_OK: LayerStatus
LAYER_STATUS_GONE: LayerStatus
LAYER_STATUS_BUSY: LayerStatus
LAYER_STATUS_UNKNOWN_LAYER: LayerStatus
LAYER_STATUS_INVALID: LayerStatus
LAYER_STATUS_FAILED: LayerStatus

class IngestRequest(_message.Message):
    __slots__ = ("hello", "packet", "layer_reply")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    LAYER_REPLY_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    packet: Packet
    layer_reply: LayerReply
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., packet: _Optional[_Union[Packet, _Mapping]] = ..., layer_reply: _Optional[_Union[LayerReply, _Mapping]] = ...) -> None: ...

class IngestResponse(_message.Message):
    __slots__ = ("welcome", "ack", "nack", "credit", "layer_request", "rate_hint", "acks")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    LAYER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    RATE_HINT_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    ack: Ack
    nack: Nack
    credit: Credit
    layer_request: LayerRequest
    rate_hint: RateHint
    acks: Acks
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., layer_request: _Optional[_Union[LayerRequest, _Mapping]] = ..., rate_hint: _Optional[_Union[RateHint, _Mapping]] = ..., acks: _Optional[_Union[Acks, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("edge_id", "epoch", "software", "acks_together")
    EDGE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    ACKS_TOGETHER_FIELD_NUMBER: _ClassVar[int]
    edge_id: str
    epoch: str
    software: str
    acks_together: bool
    def __init__(self, edge_id: _Optional[str] = ..., epoch: _Optional[str] = ..., software: _Optional[str] = ..., acks_together: bool = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("bundle_digest", "window", "max_payload_bytes", "references")
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    bundle_digest: str
    window: int
    max_payload_bytes: int
    references: bytes
    def __init__(self, bundle_digest: _Optional[str] = ..., window: _Optional[int] = ..., max_payload_bytes: _Optional[int] = ..., references: _Optional[bytes] = ...) -> None: ...

class Packet(_message.Message):
    __slots__ = ("seq", "frame_id", "camera", "captured_unix_us", "accepted_unix_us", "sent_unix_us", "max_age_ms", "payload", "source_bytes", "edge_ms", "want_result", "anew")
    class EdgeMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SEQ_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    SENT_UNIX_US_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SOURCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    EDGE_MS_FIELD_NUMBER: _ClassVar[int]
    WANT_RESULT_FIELD_NUMBER: _ClassVar[int]
    ANEW_FIELD_NUMBER: _ClassVar[int]
    seq: int
    frame_id: str
    camera: str
    captured_unix_us: int
    accepted_unix_us: int
    sent_unix_us: int
    max_age_ms: int
    payload: bytes
    source_bytes: int
    edge_ms: _containers.ScalarMap[str, float]
    want_result: bool
    anew: bool
    def __init__(self, seq: _Optional[int] = ..., frame_id: _Optional[str] = ..., camera: _Optional[str] = ..., captured_unix_us: _Optional[int] = ..., accepted_unix_us: _Optional[int] = ..., sent_unix_us: _Optional[int] = ..., max_age_ms: _Optional[int] = ..., payload: _Optional[bytes] = ..., source_bytes: _Optional[int] = ..., edge_ms: _Optional[_Mapping[str, float]] = ..., want_result: bool = ..., anew: bool = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("seq", "duplicate", "detections", "held_ms")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    HELD_MS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    duplicate: bool
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    held_ms: float
    def __init__(self, seq: _Optional[int] = ..., duplicate: bool = ..., detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ..., held_ms: _Optional[float] = ...) -> None: ...

class Acks(_message.Message):
    __slots__ = ("acks",)
    ACKS_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedCompositeFieldContainer[Ack]
    def __init__(self, acks: _Optional[_Iterable[_Union[Ack, _Mapping]]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("seq", "reason", "detail")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    seq: int
    reason: NackReason
    detail: str
    def __init__(self, seq: _Optional[int] = ..., reason: _Optional[_Union[NackReason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("window",)
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    window: int
    def __init__(self, window: _Optional[int] = ...) -> None: ...

class LayerRequest(_message.Message):
    __slots__ = ("request_id", "frame_id", "layer", "with_base", "quality", "regions", "below")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    WITH_BASE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    BELOW_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    frame_id: str
    layer: str
    with_base: bool
    quality: int
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    below: int
    def __init__(self, request_id: _Optional[str] = ..., frame_id: _Optional[str] = ..., layer: _Optional[str] = ..., with_base: bool = ..., quality: _Optional[int] = ..., regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ..., below: _Optional[int] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: int
    y: int
    width: int
    height: int
    def __init__(self, x: _Optional[int] = ..., y: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class LayerReply(_message.Message):
    __slots__ = ("request_id", "status", "content_type", "payload", "detail")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    status: LayerStatus
    content_type: str
    payload: bytes
    detail: str
    def __init__(self, request_id: _Optional[str] = ..., status: _Optional[_Union[LayerStatus, str]] = ..., content_type: _Optional[str] = ..., payload: _Optional[bytes] = ..., detail: _Optional[str] = ...) -> None: ...

class RateHint(_message.Message):
    __slots__ = ("bytes_per_second",)
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    bytes_per_second: int
    def __init__(self, bytes_per_second: _Optional[int] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("label", "score", "x1", "y1", "x2", "y2")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    X2_FIELD_NUMBER: _ClassVar[int]
    Y2_FIELD_NUMBER: _ClassVar[int]
    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float
    def __init__(self, label: _Optional[str] = ..., score: _Optional[float] = ..., x1: _Optional[float] = ..., y1: _Optional[float] = ..., x2: _Optional[float] = ..., y2: _Optional[float] = ...) -> None: ...

class GetCurrentBundleRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCurrentBundleResponse(_message.Message):
    __slots__ = ("digest", "manifest")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    manifest: bytes
    def __init__(self, digest: _Optional[str] = ..., manifest: _Optional[bytes] = ...) -> None: ...

class ListBundlesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBundlesResponse(_message.Message):
    __slots__ = ("bundles",)
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[BundleName]
    def __init__(self, bundles: _Optional[_Iterable[_Union[BundleName, _Mapping]]] = ...) -> None: ...

class BundleName(_message.Message):
    __slots__ = ("name", "version", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    digest: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class FetchFileRequest(_message.Message):
    __slots__ = ("digest", "name")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    digest: str
    name: str
    def __init__(self, digest: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class FetchFileResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...
