"""Asks the mesh on 127.0.0.1:8080: `python ask.py "Why is the sky blue?"`; SIGNALBOX_SERVER and SIGNALBOX_KEY name another and a key."""

import os
import sys

from signalbox import Client

question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
with Client(os.environ.get("SIGNALBOX_SERVER", "127.0.0.1:8080"), os.environ.get("SIGNALBOX_KEY")) as client:
    answer = client.ask(os.environ.get("SIGNALBOX_MODEL", "auto"), question)
    for text in answer:
        print(text, end="", flush=True)
    print(f"\n{answer.finished.model}: {answer.finished.cost_nanousd / 1e9} USD")
