"""The libraries of OpenAI and Anthropic, unmodified, and a real model behind the mesh."""

import json

import anthropic
import openai
from checks import run

MODEL = "real"
WANTED = "Say hello in one short sentence."
MESSAGES = [{"role": "user", "content": WANTED}]
# One answer may be the other's, from the cache: each is asked of the model.
FRESH = {"x-signalbox-cache": "off"}
# One word comes in one piece: where several are wanted, the most probable answer is asked for, and to what has a longer one.
LONGER = {
    "messages": [{"role": "user", "content": "Write a short story about a cat and a dog."}],
    "extra_body": {"temperature": 0.0},
}


def openai_client(address):
    return openai.OpenAI(
        base_url=f"{address}/v1", api_key="none-is-needed", max_retries=0, timeout=120, default_headers=FRESH
    )


def anthropic_client(address):
    return anthropic.Anthropic(
        base_url=address, api_key="none-is-needed", max_retries=0, timeout=120, default_headers=FRESH
    )


def models(address):
    assert MODEL in [model.id for model in openai_client(address).models.list()]


def chat_whole(address):
    ask = {"model": MODEL, "messages": MESSAGES, "max_tokens": 24}
    raw = openai_client(address).chat.completions.with_raw_response.create(**ask)
    answer = raw.parse()
    assert answer.choices[0].message.content.strip(), answer
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0 and 0 < answer.usage.completion_tokens <= 24
    assert raw.headers["x-signalbox-cache"] == "bypass", raw.headers


def chat_stream(address):
    stream = openai_client(address).chat.completions.create(
        model=MODEL, max_tokens=24, stream=True, stream_options={"include_usage": True}, **LONGER
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert sum(bool(piece) for piece in pieces) > 1, pieces
    assert 0 < chunks[-1].usage.completion_tokens <= 24


def chat_schema(address):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    messages = [{"role": "user", "content": "Which city is the capital of France? Answer in JSON."}]
    answer = openai_client(address).chat.completions.create(
        model=MODEL, messages=messages, max_tokens=64, response_format=form
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content)["city"], str)


def responses(address):
    answer = openai_client(address).responses.create(model=MODEL, input=WANTED, max_output_tokens=24)
    assert answer.output_text.strip() and answer.usage.output_tokens > 0, answer


def messages_whole(address):
    answer = anthropic_client(address).messages.create(model=MODEL, messages=MESSAGES, max_tokens=24)
    assert answer.content[0].text.strip(), answer
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.usage.input_tokens > 0 and 0 < answer.usage.output_tokens <= 24


def messages_stream(address):
    with anthropic_client(address).messages.stream(model=MODEL, max_tokens=24, **LONGER) as events:
        pieces = list(events.text_stream)
        usage = events.get_final_message().usage
    assert len(pieces) > 1 and "".join(pieces).strip(), pieces
    assert 0 < usage.output_tokens <= 24


if __name__ == "__main__":
    run([models, chat_whole, chat_stream, chat_schema, responses, messages_whole, messages_stream])
