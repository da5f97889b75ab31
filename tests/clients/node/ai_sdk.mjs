// Vercel's AI SDK, unmodified: OpenAI's chat and Responses, any compatible server, and Anthropic.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embed, generateText, streamText, tool } from "ai";
import { z } from "zod";

import { IMAGE, PROMPT, TOOL, equal, raises, run, that } from "./checks.mjs";

const Weather = z.object({ city: z.string(), days: z.number().int() });
const tools = { [TOOL]: tool({ description: "Tells the weather.", inputSchema: Weather }) };

/** The same model by each of the SDK's ways to this mesh. */
function ways(address, model) {
  const apiKey = "none-is-needed";
  const openai = createOpenAI({ baseURL: `${address}/v1`, apiKey });
  const compatible = createOpenAICompatible({
    name: "signalbox",
    baseURL: `${address}/v1`,
    apiKey,
    supportsStructuredOutputs: true,
  });
  const anthropic = createAnthropic({ baseURL: `${address}/v1`, apiKey });
  return [openai.chat(model), openai.responses(model), compatible(model), anthropic(model)];
}

async function text(address) {
  for (const model of ways(address, "sim-echo")) {
    const answer = await generateText({ model, prompt: PROMPT, maxRetries: 0 });
    equal(answer.text, PROMPT);
    equal(answer.finishReason, "stop");
    that(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0, answer.usage);
  }
}

async function stream(address) {
  for (const model of ways(address, "sim-echo")) {
    const answer = streamText({ model, prompt: PROMPT, maxRetries: 0 });
    let said = "";
    for await (const piece of answer.textStream) said += piece;
    equal(said, PROMPT);
    equal(await answer.finishReason, "stop");
  }
}

async function useTools(address) {
  for (const model of ways(address, "sim-small+tools")) {
    const answer = await generateText({ model, prompt: PROMPT, tools, maxRetries: 0 });
    equal(answer.toolCalls[0].toolName, TOOL);
    that("city" in answer.toolCalls[0].input, answer.toolCalls);
    const streamed = streamText({ model, prompt: PROMPT, tools, maxRetries: 0 });
    that("days" in (await streamed.toolCalls)[0].input, "the streamed call");
    equal(await streamed.finishReason, "tool-calls");
  }
}

async function schema(address) {
  const output = Output.object({ schema: Weather });
  for (const model of ways(address, "sim-small").slice(0, 3)) {
    const answer = await generateText({ model, prompt: PROMPT, output, maxRetries: 0 });
    equal(typeof answer.output.city, "string");
  }
}

async function image(address) {
  const content = [
    { type: "text", text: PROMPT },
    { type: "image", image: IMAGE, mediaType: "image/png" },
  ];
  for (const model of ways(address, "sim-small")) {
    const answer = await generateText({ model, messages: [{ role: "user", content }], maxRetries: 0 });
    that(answer.text, answer);
  }
}

async function errors(address) {
  for (const model of ways(address, "nobody")) {
    const error = await raises(APICallError, () => generateText({ model, prompt: PROMPT, maxRetries: 0 }));
    equal(error.statusCode, 404);
  }
  for (const model of ways(address, "sim-echo+cut=2")) {
    let told;
    const answer = streamText({ model, prompt: PROMPT, maxRetries: 0, onError: ({ error }) => (told = error) });
    for await (const _ of answer.textStream);
    that(told, "the break is told");
  }
}

async function leavesInMidStream(address) {
  const prompt = Array(400).fill("word").join(" ");
  for (const model of ways(address, "sim-echo+drip=50")) {
    const leaving = new AbortController();
    const answer = streamText({ model, prompt, maxRetries: 0, abortSignal: leaving.signal, onError: () => {} });
    for await (const _ of answer.textStream) break;
    leaving.abort();
  }
}

async function vectors(address) {
  const openai = createOpenAI({ baseURL: `${address}/v1`, apiKey: "none-is-needed" });
  const { embedding } = await embed({ model: openai.textEmbeddingModel("sim-embed"), value: "one" });
  that(embedding.length > 8, embedding);
}

await run([text, stream, useTools, schema, image, errors, leavesInMidStream, vectors]);
