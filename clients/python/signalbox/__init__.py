"""Asks a running Signalbox over gRPC.

    from signalbox import Client

    with Client("127.0.0.1:8080") as client:
        answer = client.ask("auto", "Why is the sky blue?")
        for text in answer:
            print(text, end="", flush=True)
        print(answer.finished.cost_nanousd)

Everything else of the contracts: `client.gateway` is the generated stub, and `signalbox.common.v1` and its neighbours have the messages.
"""

from collections.abc import Iterator

import grpc

from signalbox.common.v1 import chat_pb2, event_pb2
from signalbox.gateway.v1 import gateway_pb2, gateway_pb2_grpc

__all__ = ["Answer", "Client"]


class Answer:
    """A streamed answer: iterate over its text; the rest is there once it came.

    A call that fails, or a stream that breaks, raises `grpc.RpcError`. Leaving the loop early and calling `cancel` ends the
    provider's work too.
    """

    def __init__(self, call: grpc.Call):
        self._call = call
        self.started: event_pb2.Started | None = None
        self.notices: list[event_pb2.Notice] = []
        self.finished: event_pb2.Finished | None = None

    def events(self) -> Iterator[event_pb2.GenerateEvent]:
        """All events, as they come: text, reasoning, tool calls, notices, seams."""
        for response in self._call:
            event = response.event
            match event.WhichOneof("kind"):
                case "started":
                    self.started = event.started
                case "notice":
                    self.notices.append(event.notice)
                case "finished":
                    self.finished = event.finished
            yield event

    def __iter__(self) -> Iterator[str]:
        for event in self.events():
            if event.delta.text:
                yield event.delta.text

    def cancel(self) -> None:
        """Ends the answer."""
        self._call.cancel()


class Client:
    """A connection to a mesh, made with the first call.

    `key` is `sb_<id>_<secret>`, where the mesh wants one. `credentials` (`grpc.ssl_channel_credentials()`) for TLS.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:8080",
        key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ):
        # The mesh's own limit on messages holds.
        options = [("grpc.max_receive_message_length", -1)]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options)
        self.metadata = [("authorization", f"Bearer {key}")] if key else []
        self.gateway = gateway_pb2_grpc.GatewayServiceStub(self._channel)

    def ask(self, model: str, text: str, timeout: float | None = None) -> Answer:
        """Asks a model (an alias, `provider/model`, or `auto`) a question."""
        part = chat_pb2.Part(text=chat_pb2.Text(text=text))
        message = chat_pb2.Message(role=chat_pb2.ROLE_USER, parts=[part])
        return self.generate(chat_pb2.ChatRequest(model=model, messages=[message]), timeout)

    def generate(self, chat: chat_pb2.ChatRequest, timeout: float | None = None) -> Answer:
        """Streams the answer to a whole request."""
        request = gateway_pb2.GenerateRequest(chat=chat)
        return Answer(self.gateway.Generate(request, metadata=self.metadata, timeout=timeout))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
