"""What the clients' checks share: the mesh's address, named checks, and the things they ask for."""

import argparse
import base64
import struct
import sys
import traceback
import zlib

PROMPT = "Say hello to the signalman."
TOOL = "look_up_weather"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def png() -> bytes:
    """A picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")


IMAGE = base64.b64encode(png()).decode()
IMAGE_URL = f"data:image/png;base64,{IMAGE}"


def raises(kind, ask):
    """Returns the error of this kind that `ask` must end in."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def run(checks) -> None:
    """Runs each check with the mesh's address; prints one line for each, ends with status 1 if one fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    address = "http://" + parser.parse_args().address
    failed = 0
    for check in checks:
        try:
            check(address)
            print("passed", check.__name__, flush=True)
        except Exception:  # a failed check is told, and the others still run
            failed += 1
            print("failed", check.__name__, flush=True)
            traceback.print_exc()
    sys.exit(1 if failed or not checks else 0)
