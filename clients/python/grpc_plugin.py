"""gRPC's generator for Python as a plugin that buf runs: grpcio-tools has it built into its protoc only."""

import pathlib
import sys
import tempfile

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
response = plugin_pb2.CodeGeneratorResponse(
    supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
)
with tempfile.TemporaryDirectory() as folder:
    described, out = pathlib.Path(folder, "described"), pathlib.Path(folder, "out")
    described.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
    out.mkdir()
    arguments = ["protoc", f"--descriptor_set_in={described}", f"--grpc_python_out={out}", *request.file_to_generate]
    if protoc.main(arguments) != 0:
        sys.exit("grpcio-tools cannot read what buf gave it")
    for path in sorted(out.rglob("*.py")):
        response.file.add(name=str(path.relative_to(out)), content=path.read_text())
sys.stdout.buffer.write(response.SerializeToString())
