// Anthropic's own library, unmodified.

import Anthropic from "@anthropic-ai/sdk";

import { IMAGE, PARAMETERS, PROMPT, TOOL, equal, raises, run, that } from "./checks.mjs";

const client = (address) => new Anthropic({ baseURL: address, apiKey: "none-is-needed", maxRetries: 0 });
const ask = { model: "sim-echo", max_tokens: 400, messages: [{ role: "user", content: PROMPT }] };
const tools = [{ name: TOOL, description: "Tells the weather.", input_schema: PARAMETERS }];

async function whole(address) {
  const { data, response } = await client(address).messages.create(ask).withResponse();
  equal(data.content[0].text, PROMPT);
  equal(data.stop_reason, "end_turn");
  that(data.usage.input_tokens > 0, data);
  equal(response.headers.get("request-id"), data._request_id);
}

async function stream(address) {
  let text = "";
  const events = client(address)
    .messages.stream(ask)
    .on("text", (delta) => (text += delta));
  const final = await events.finalMessage();
  equal(text, PROMPT);
  equal(final.content[0].text, PROMPT);
  that(final.usage.output_tokens > 0, final);
}

async function useTools(address) {
  const answer = await client(address).messages.create({ ...ask, model: "sim-small+tools", tools });
  equal(answer.stop_reason, "tool_use");
  const call = answer.content.find((block) => block.type === "tool_use");
  that("city" in call.input, call);
  const events = client(address).messages.stream({ ...ask, model: "sim-small+tools", tools });
  const streamed = (await events.finalMessage()).content.find((block) => block.type === "tool_use");
  that("days" in streamed.input, streamed);
}

async function schemaAndImage(address) {
  const source = { type: "base64", media_type: "image/png", data: IMAGE };
  const content = [{ type: "image", source }, { type: "text", text: PROMPT }];
  const answer = await client(address).messages.create({
    model: "sim-small",
    max_tokens: 400,
    messages: [{ role: "user", content }],
    output_config: { format: { type: "json_schema", schema: PARAMETERS } },
  });
  that("city" in JSON.parse(answer.content[0].text), answer);
}

async function counting(address) {
  const counted = await client(address).messages.countTokens({ model: "sim-echo", messages: ask.messages });
  that(counted.input_tokens > 3, counted);
}

async function errors(address) {
  const send = (more) => () => client(address).messages.create({ ...ask, ...more });
  await raises(Anthropic.BadRequestError, send({ temperature: "hot" }));
  const nobody = await raises(Anthropic.NotFoundError, send({ model: "nobody" }));
  equal(nobody.error.error.type, "not_found_error");
  await raises(Anthropic.RateLimitError, send({ model: "sim-small+429-retry-after=7" }));
  const events = client(address).messages.stream({ ...ask, model: "sim-echo+cut=2" });
  await raises(Anthropic.AnthropicError, () => events.finalMessage());
}

async function leavesInMidStream(address) {
  const text = Array(400).fill("word").join(" ");
  const events = client(address).messages.stream({
    model: "sim-echo+drip=50",
    max_tokens: 2000,
    messages: [{ role: "user", content: text }],
  });
  for await (const event of events) {
    if (event.type === "content_block_delta") break;
  }
  events.abort();
}

await run([whole, stream, useTools, schemaAndImage, counting, errors, leavesInMidStream]);
