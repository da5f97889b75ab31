// OpenAI's own library, unmodified.

import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { IMAGE_URL, PARAMETERS, PROMPT, TOOL, equal, raises, run, that } from "./checks.mjs";

const client = (address) => new OpenAI({ baseURL: `${address}/v1`, apiKey: "none-is-needed", maxRetries: 0 });
const messages = [{ role: "user", content: PROMPT }];
const tools = [{ type: "function", function: { name: TOOL, parameters: PARAMETERS, strict: true } }];
const Weather = z.object({ city: z.string(), days: z.number().int() });

async function models(address) {
  const ids = [];
  for await (const model of client(address).models.list()) ids.push(model.id);
  that(ids.includes("sim-echo"), ids);
}

async function chat(address) {
  const { data, response, request_id } = await client(address)
    .chat.completions.create({ model: "sim-echo", messages })
    .withResponse();
  equal(data.choices[0].message.content, PROMPT);
  that(data.usage.total_tokens > 0, data);
  equal(response.headers.get("x-signalbox-model"), "sim/sim-echo");
  that(request_id, "a request id");

  const stream = client(address).chat.completions.stream({
    model: "sim-echo",
    messages,
    stream_options: { include_usage: true },
  });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const final = await stream.finalChatCompletion();
  equal(text, PROMPT);
  equal(final.choices[0].finish_reason, "stop");
  that((await stream.totalUsage()).total_tokens > 0, "usage");
}

async function chatTools(address) {
  const answer = await client(address).chat.completions.create({ model: "sim-small+tools", messages, tools });
  const [call] = answer.choices[0].message.tool_calls;
  equal(call.function.name, TOOL);
  that("city" in JSON.parse(call.function.arguments), call);
  const stream = client(address).chat.completions.stream({ model: "sim-small+tools", messages, tools });
  const [streamed] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
  that("days" in JSON.parse(streamed.function.arguments), streamed);
}

async function chatSchemaAndImage(address) {
  const content = [
    { type: "text", text: PROMPT },
    { type: "image_url", image_url: { url: IMAGE_URL } },
  ];
  const answer = await client(address).chat.completions.parse({
    model: "sim-small",
    messages: [{ role: "user", content }],
    response_format: zodResponseFormat(Weather, "weather"),
  });
  equal(typeof answer.choices[0].message.parsed.city, "string");
}

async function errors(address) {
  const ask = (more) => () => client(address).chat.completions.create({ model: "sim-echo", messages, ...more });
  const wrong = await raises(OpenAI.BadRequestError, ask({ temperature: "hot" }));
  equal(wrong.param, "temperature");
  equal((await raises(OpenAI.NotFoundError, ask({ model: "nobody" }))).code, "model_not_found");
  const limited = await raises(OpenAI.RateLimitError, ask({ model: "sim-small+429-retry-after=7" }));
  that(Number(limited.headers.get("retry-after")) >= 1, "retry-after");
  await raises(OpenAI.APIError, async () => {
    for await (const _ of await ask({ model: "sim-echo+cut=2", stream: true })());
  });
}

async function leavesInMidStream(address) {
  const text = Array(400).fill("word").join(" ");
  const stream = await client(address).chat.completions.create({
    model: "sim-echo+drip=50",
    messages: [{ role: "user", content: text }],
    stream: true,
  });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content) break;
  }
  stream.controller.abort();
}

async function responses(address) {
  const answer = await client(address).responses.create({ model: "sim-echo", input: PROMPT });
  equal(answer.output_text, PROMPT);
  let text = "";
  const stream = client(address).responses.stream({ model: "sim-echo", input: PROMPT });
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  equal(text, PROMPT);
  equal((await stream.finalResponse()).status, "completed");
  const parsed = await client(address).responses.parse({
    model: "sim-small",
    input: PROMPT,
    text: { format: zodTextFormat(Weather, "weather") },
  });
  equal(typeof parsed.output_parsed.days, "number");
  const tool = { type: "function", name: TOOL, parameters: PARAMETERS, strict: true };
  const called = await client(address).responses.create({ model: "sim-small+tools", input: PROMPT, tools: [tool] });
  equal(called.output[0].name, TOOL);
  await raises(OpenAI.NotFoundError, () => client(address).responses.create({ model: "nobody", input: PROMPT }));
}

async function embeddings(address) {
  const answer = await client(address).embeddings.create({ model: "sim-embed", input: ["one", "two"] });
  equal(answer.data.length, 2);
  equal(typeof answer.data[1].embedding[0], "number");
}

await run([models, chat, chatTools, chatSchemaAndImage, errors, leavesInMidStream, responses, embeddings]);
