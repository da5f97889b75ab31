#!/usr/bin/env python3
"""Starts the llama-server in FOLDER once, asks it one question and stops it: ask_llama.py FOLDER"""

import glob
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

START_LIMIT_S = 60
ANSWER_LIMIT_S = 120


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    (model,) = glob.glob(os.path.join(sys.argv[1], "*.gguf"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    server = subprocess.Popen(
        [os.path.join(sys.argv[1], "llama-server"), "-m", model, "--host", "127.0.0.1", "--port", str(port),
         "-t", "1", "-c", "512", "-np", "1", "--no-webui", "--device", "none"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                opener.open(f"{base}/health", timeout=5).read()
                break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None:
                    sys.exit(f"error: llama-server ended with status {server.returncode}")
                if time.monotonic() > deadline:
                    sys.exit("error: llama-server did not become healthy")
                time.sleep(0.05)
        question = {"messages": [{"role": "user", "content": "Write one sentence about trains."}],
                    "max_tokens": 24, "temperature": 0}
        request = urllib.request.Request(f"{base}/v1/chat/completions", json.dumps(question).encode(),
                                         {"content-type": "application/json"})
        answer = json.load(opener.open(request, timeout=ANSWER_LIMIT_S))
        print(f"   the model says: {answer['choices'][0]['message']['content']!r}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
