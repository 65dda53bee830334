"""The generated stubs of proto/midstream/v1/stream.proto (`make proto`), and how both ends set up a channel.

Keepalive must be set on both ends: a client that pings more often than the server allows is thrown out with
GOAWAY too_many_pings, and a client that never pings does not notice a dead link.
"""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest gRPC message either side takes: a picture of 15 MiB and its envelope."""

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

SERVER_OPTIONS: list[tuple[str, int]] = [
    *CHANNEL_OPTIONS,
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 15_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
]
