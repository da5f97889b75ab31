"""A client in another language: streams answers from a running mesh through stubs built from proto/.

    python client.py --address 127.0.0.1:8080 --model sim-small [--key sb_...] TEXT [TEXT ...]

Prints one JSON object per request: {"text", "model", "cache", "cost_nanousd", "notices", "sequence_ok", "error"}.
"""

import argparse
import importlib
import json
import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc


def build_stubs(out: pathlib.Path) -> None:
    """Compiles proto/ into importable modules under `out`."""
    root = pathlib.Path(__file__).resolve().parents[2] / "proto"
    files = sorted(str(path) for path in root.rglob("*.proto"))
    include = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{root}", f"-I{include}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    if protoc.main(arguments) != 0:
        raise SystemExit("proto/ does not compile with grpcio-tools")
    sys.path.insert(0, str(out))


def ask(stub, common, gateway, model: str, text: str, metadata) -> dict:
    """Streams one answer."""
    message = common.Message(role=common.ROLE_USER, parts=[common.Part(text=common.Text(text=text))])
    chat = common.ChatRequest(model=model, messages=[message])
    result = {"text": "", "model": "", "cache": "", "cost_nanousd": None, "notices": [], "sequence_ok": True}
    result["error"] = ""
    last = 0
    try:
        for response in stub.Generate(gateway.GenerateRequest(chat=chat), metadata=metadata, timeout=120):
            event = response.event
            result["sequence_ok"] &= event.sequence == last + 1
            last = event.sequence
            kind = event.WhichOneof("kind")
            if kind == "started":
                result["model"] = event.started.model
                result["cache"] = common_name(event.started.cache.state)
            elif kind == "delta":
                result["text"] += event.delta.text
            elif kind == "notice":
                result["notices"].append(event.notice.message)
            elif kind == "finished":
                result["cost_nanousd"] = event.finished.cost_nanousd
                result["finish_reason"] = event.finished.finish_reason
    except grpc.RpcError as error:
        result["error"] = error.code().name
        result["message"] = error.details()
    return result


def common_name(state: int) -> str:
    """The short name of a cache state."""
    events = importlib.import_module("signalbox.common.v1.event_pb2")
    return events.CacheState.Name(state).removeprefix("CACHE_STATE_").lower()


def main() -> int:
    """Asks each text in turn; status 0 when every stream ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:8080")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--key", default="")
    parser.add_argument("texts", nargs="+")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_stubs(pathlib.Path(folder))
        common = importlib.import_module("signalbox.common.v1.chat_pb2")
        gateway = importlib.import_module("signalbox.gateway.v1.gateway_pb2")
        service = importlib.import_module("signalbox.gateway.v1.gateway_pb2_grpc")
        metadata = [("authorization", f"Bearer {arguments.key}")] if arguments.key else []
        with grpc.insecure_channel(arguments.address) as channel:
            stub = service.GatewayServiceStub(channel)
            for text in arguments.texts:
                print(json.dumps(ask(stub, common, gateway, arguments.model, text, metadata)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
