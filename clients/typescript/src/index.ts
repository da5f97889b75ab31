/** Asks a running Signalbox over gRPC. `client.gateway` is the generated client with all methods. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, type Client as Stub, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { ChatRequestSchema, Role } from "./gen/signalbox/common/v1/chat_pb.js";
import type { Finished, GenerateEvent, Notice, Started } from "./gen/signalbox/common/v1/event_pb.js";
import { GatewayService } from "./gen/signalbox/gateway/v1/gateway_pb.js";

/**
 * A streamed answer: iterate over its text; the rest is there once it came. A call that fails, or a stream that breaks, throws
 * `ConnectError`. To end it early, abort the signal that was given with the call: that ends the provider's work too.
 */
export class Answer {
  started?: Started;
  finished?: Finished;
  readonly notices: Notice[] = [];

  constructor(private readonly responses: AsyncIterable<{ event?: GenerateEvent }>) {}

  /** All events, as they come: text, reasoning, tool calls, notices, seams. */
  async *events(): AsyncGenerator<GenerateEvent> {
    for await (const { event } of this.responses) {
      if (event === undefined) continue;
      const { kind } = event;
      if (kind.case === "started") this.started = kind.value;
      if (kind.case === "notice") this.notices.push(kind.value);
      if (kind.case === "finished") this.finished = kind.value;
      yield event;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for await (const { kind } of this.events()) {
      if (kind.case === "delta" && kind.value.content.case === "text") yield kind.value.content.value;
    }
  }
}

/** A connection to a mesh (`http://host:port`), made with the first call; `key` is `sb_<id>_<secret>`, where the mesh wants one. */
export class Client {
  readonly gateway: Stub<typeof GatewayService>;

  constructor(address = "http://127.0.0.1:8080", key?: string) {
    const authorize: Interceptor = (next) => (request) => {
      if (key) request.header.set("authorization", `Bearer ${key}`);
      return next(request);
    };
    this.gateway = createClient(GatewayService, createGrpcTransport({ baseUrl: address, interceptors: [authorize] }));
  }

  /** Asks a model (an alias, `provider/model`, or `auto`) a question. */
  ask(model: string, text: string, options?: CallOptions): Answer {
    const part = { kind: { case: "text" as const, value: { text } } };
    return this.generate({ model, messages: [{ role: Role.USER, parts: [part] }] }, options);
  }

  /** Streams the answer to a whole request. */
  generate(chat: MessageInitShape<typeof ChatRequestSchema>, options?: CallOptions): Answer {
    return new Answer(this.gateway.generate({ chat: create(ChatRequestSchema, chat) }, options));
  }
}
