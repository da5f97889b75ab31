"""Anthropic's own library, unmodified."""

import anthropic
from checks import IMAGE, PARAMETERS, PROMPT, TOOL, raises, run
from pydantic import BaseModel


class Weather(BaseModel):
    """The form of an answer."""

    city: str
    days: int


def client(address, **options):
    return anthropic.Anthropic(base_url=address, api_key="none-is-needed", max_retries=0, **options)


ASK = {"max_tokens": 400, "messages": [{"role": "user", "content": PROMPT}]}
TOOLS = [{"name": TOOL, "description": "Tells the weather.", "input_schema": PARAMETERS}]


def models(address):
    listed = client(address).models.list()
    assert "sim-echo" in [model.id for model in listed]


def whole(address):
    raw = client(address).messages.with_raw_response.create(model="sim-echo", **ASK)
    answer = raw.parse()
    assert answer.content[0].text == PROMPT and answer.stop_reason == "end_turn", answer
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert raw.headers["x-signalbox-model"] == "sim/sim-echo"
    assert answer._request_id == raw.headers["request-id"] == raw.headers["x-request-id"]


def stream(address):
    with client(address).messages.stream(model="sim-echo", system="Be kind.", **ASK) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == PROMPT == final.content[0].text
    assert final.stop_reason == "end_turn" and final.usage.input_tokens > 0 and final.usage.output_tokens > 0


def tools(address):
    answer = client(address).messages.create(model="sim-small+tools", tools=TOOLS, **ASK)
    assert answer.stop_reason == "tool_use", answer
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert call.name == TOOL and set(call.input) == {"city", "days"}
    with client(address).messages.stream(model="sim-small+tools", tools=TOOLS, **ASK) as events:
        (streamed,) = [block for block in events.get_final_message().content if block.type == "tool_use"]
    assert set(streamed.input) == {"city", "days"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
    history = [
        *ASK["messages"],
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    after = client(address).messages.create(model="sim-small", max_tokens=400, tools=TOOLS, messages=history)
    assert after.content


def schema(address):
    answer = client(address).messages.parse(model="sim-small", output_format=Weather, **ASK)
    assert isinstance(answer.parsed_output, Weather), answer


def image(address):
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": PROMPT}]
    answer = client(address).messages.create(
        model="sim-small", max_tokens=400, messages=[{"role": "user", "content": parts}]
    )
    assert answer.content[0].text


def counting(address):
    counted = client(address).messages.count_tokens(model="sim-echo", messages=ASK["messages"])
    assert counted.input_tokens > 3, counted


def errors(address):
    ask = client(address).messages.create
    raises(anthropic.BadRequestError, lambda: ask(model="sim-echo", extra_body={"temperature": "hot"}, **ASK))
    error = raises(anthropic.NotFoundError, lambda: ask(model="nobody", **ASK))
    assert error.body["error"]["type"] == "not_found_error" and error.request_id, error.body
    error = raises(anthropic.RateLimitError, lambda: ask(model="sim-small+429-retry-after=7", **ASK))
    assert error.body["error"]["type"] == "rate_limit_error"
    assert int(error.response.headers["retry-after"]) >= 1
    error = raises(anthropic.APIStatusError, lambda: ask(model="sim-small+status=503", **ASK))
    assert error.status_code == 529 and error.body["error"]["type"] == "overloaded_error", error.body


def a_broken_stream_is_an_error(address):
    def read():
        with client(address).messages.stream(model="sim-echo+cut=2", **ASK) as events:
            events.get_final_message()

    raises(anthropic.APIError, read)


def bearer(address):
    other = anthropic.Anthropic(base_url=address, auth_token="none-is-needed", max_retries=0)
    assert other.messages.create(model="sim-echo", **ASK).content[0].text == PROMPT


def leaves_in_mid_stream(address):
    text = " ".join(["word"] * 400)
    messages = [{"role": "user", "content": text}]
    with client(address).messages.stream(model="sim-echo+drip=50", max_tokens=2000, messages=messages) as events:
        next(iter(events.text_stream))


if __name__ == "__main__":
    run(
        [
            models,
            whole,
            stream,
            tools,
            schema,
            image,
            counting,
            errors,
            a_broken_stream_is_an_error,
            bearer,
            leaves_in_mid_stream,
        ]
    )
