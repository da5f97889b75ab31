"""LiteLLM's library as a client, unmodified: by OpenAI's chat and by Anthropic's messages."""

import json

import litellm
from checks import IMAGE_URL, PARAMETERS, PROMPT, TOOL, raises, run

litellm.suppress_debug_info = True
MESSAGES = [{"role": "user", "content": PROMPT}]
TOOLS = [{"type": "function", "function": {"name": TOOL, "parameters": PARAMETERS}}]


def ways(address, model):
    """The same model by each of LiteLLM's ways to this mesh."""
    common = {"api_key": "none-is-needed", "num_retries": 0, "max_tokens": 400}
    return [
        {**common, "model": f"openai/{model}", "api_base": f"{address}/v1"},
        {**common, "model": f"anthropic/{model}", "api_base": address},
    ]


def whole(address):
    for way in ways(address, "sim-echo"):
        answer = litellm.completion(**way, messages=MESSAGES)
        assert answer.choices[0].message.content == PROMPT, answer
        assert answer.usage.prompt_tokens > 0 and answer.choices[0].finish_reason == "stop"


def stream(address):
    for way in ways(address, "sim-echo"):
        chunks = litellm.completion(**way, messages=MESSAGES, stream=True)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said == PROMPT, said


def tools(address):
    for way in ways(address, "sim-small+tools"):
        answer = litellm.completion(**way, messages=MESSAGES, tools=TOOLS)
        (call,) = answer.choices[0].message.tool_calls
        assert call.function.name == TOOL and set(json.loads(call.function.arguments)) == {"city", "days"}
        chunks = list(litellm.completion(**way, messages=MESSAGES, tools=TOOLS, stream=True))
        (streamed,) = litellm.stream_chunk_builder(chunks, messages=MESSAGES).choices[0].message.tool_calls
        assert set(json.loads(streamed.function.arguments)) == {"city", "days"}, streamed


def schema(address):
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": PARAMETERS, "strict": True}}
    answer = litellm.completion(**ways(address, "sim-small")[0], messages=MESSAGES, response_format=form)
    assert set(json.loads(answer.choices[0].message.content)) == {"city", "days"}


def image(address):
    parts = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": IMAGE_URL}}]
    for way in ways(address, "sim-small"):
        answer = litellm.completion(**way, messages=[{"role": "user", "content": parts}])
        assert answer.choices[0].message.content


def errors(address):
    for way in ways(address, "nobody"):
        raises(litellm.NotFoundError, lambda way=way: litellm.completion(**way, messages=MESSAGES))
    # A target each: several limits in a row open the breaker.
    for way, model in enumerate(("sim-small+429-retry-after=7", "sim-small+429-retry-after=7+tag=b")):
        way = ways(address, model)[way]
        raises(litellm.RateLimitError, lambda way=way: litellm.completion(**way, messages=MESSAGES))
    for way in ways(address, "sim-echo+cut=2"):
        raises(Exception, lambda way=way: list(litellm.completion(**way, messages=MESSAGES, stream=True)))


def embeddings(address):
    way = {"api_key": "none-is-needed", "api_base": f"{address}/v1", "num_retries": 0}
    answer = litellm.embedding(model="openai/sim-embed", input=["one", "two"], **way)
    assert len(answer.data) == 2


if __name__ == "__main__":
    run([whole, stream, tools, schema, image, errors, embeddings])
