"""Asks each text in turn through the package in clients/python, which must be on the path with its stubs.

    python client.py --model sim-small TEXT [TEXT ...]

Prints one JSON object per answer: {"text", "model", "cache", "cost_nanousd", "notices", "sequence_ok", "error"}.
"""

import argparse
import json
import os

import grpc

from signalbox import Client
from signalbox.common.v1 import event_pb2


def ask(client: Client, model: str, text: str) -> dict:
    """Streams one answer."""
    result = {"text": "", "model": "", "cache": "", "cost_nanousd": None, "sequence_ok": True, "error": ""}
    answer = client.ask(model, text, timeout=120)
    last = 0
    try:
        for event in answer.events():
            result["sequence_ok"] &= event.sequence == last + 1
            last = event.sequence
            result["text"] += event.delta.text
    except grpc.RpcError as error:
        result["error"], result["message"] = error.code().name, error.details()
    result["notices"] = [notice.message for notice in answer.notices]
    if answer.started is not None:
        result["model"] = answer.started.model
        result["cache"] = event_pb2.CacheState.Name(answer.started.cache.state).removeprefix("CACHE_STATE_").lower()
    if answer.finished is not None:
        result["cost_nanousd"] = answer.finished.cost_nanousd
    return result


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="auto")
parser.add_argument("texts", nargs="+")
arguments = parser.parse_args()
with Client(os.environ["SIGNALBOX_SERVER"]) as mesh:
    for text in arguments.texts:
        print(json.dumps(ask(mesh, arguments.model, text)), flush=True)
