"""The stubs in common/wire say what the .proto says, and run on the oldest gRPC the package admits."""

import re
import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

from common.wire import stream_pb2
from tests.house.repository import ROOT
from tests.house.test_packaging import requirements

WIRE = ROOT / "common" / "wire"


def test_stubs_are_fresh(tmp_path: Path) -> None:
    """`make proto` was not forgotten: the installed compiler reads the .proto as the stubs have it."""
    compiled = tmp_path / "stream.descriptor"
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-I", "common/wire=proto/midstream/v1"),
            *(f"--descriptor_set_out={compiled}", "common/wire/stream.proto"),
        ],
        cwd=ROOT,
        check=True,
    )
    (source,) = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    stubs = descriptor_pb2.FileDescriptorProto.FromString(stream_pb2.DESCRIPTOR.serialized_pb)
    for message in (*source.message_type, *stubs.message_type):
        _derive_json_names(message)
    assert source == stubs


def _derive_json_names(message: descriptor_pb2.DescriptorProto) -> None:
    """One compiler writes the JSON names out, the other leaves them to be derived."""
    for field in message.field:
        field.json_name = field.json_name or re.sub("_(.)", lambda match: match[1].upper(), field.name)
    for nested in message.nested_type:
        _derive_json_names(nested)


def test_stubs_have_every_method() -> None:
    text = (WIRE / "stream_pb2_grpc.py").read_text()
    for name, service in stream_pb2.DESCRIPTOR.services_by_name.items():
        assert f"class {name}Stub(" in text
        for method in service.methods:
            assert f"'/{service.full_name}/{method.name}'" in text


def test_type_stubs_have_every_message() -> None:
    text = (WIRE / "stream_pb2.pyi").read_text()
    for message in stream_pb2.DESCRIPTOR.message_types_by_name.values():
        assert f"class {message.name}(" in text
        assert all(f"    {field.name}: " in text for field in message.fields)


def test_stubs_are_made_by_the_oldest_supported_grpc() -> None:
    oldest = requirements("wire")
    assert f"GRPC_GENERATED_VERSION = '{_lower(oldest['grpcio'])}'" in (WIRE / "stream_pb2_grpc.py").read_text()
    made = re.search(r"# Protobuf Python Version: ([\d.]+)", (WIRE / "stream_pb2.py").read_text())
    assert made and _numbers(made[1]) <= _numbers(_lower(oldest["protobuf"]))


def _lower(specifier: str) -> str:
    bound = re.search(r">=\s*([\d.]+)", specifier)
    assert bound, f"no lower bound in {specifier!r}"
    return bound[1]


def _numbers(version: str) -> tuple[int, ...]:
    return (*map(int, version.split(".")), 0, 0)[:3]
