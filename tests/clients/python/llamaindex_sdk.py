"""LlamaIndex with its package for servers like OpenAI's, unmodified."""

import openai
from checks import IMAGE_URL, PROMPT, TOOL, raises, run
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Weather(BaseModel):
    """The form of an answer."""

    city: str
    days: int


def look_up(city: str, days: int) -> str:
    """Tells the weather."""
    return f"sunny in {city} for {days} days"


def model(address, name):
    return OpenAILike(
        model=name,
        api_base=f"{address}/v1",
        api_key="none-is-needed",
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        max_retries=0,
    )


MESSAGES = [ChatMessage(role="user", content=PROMPT)]


def whole(address):
    answer = model(address, "sim-echo").chat(MESSAGES)
    assert answer.message.content == PROMPT, answer
    assert answer.raw.usage.total_tokens > 0


def stream(address):
    said = "".join(piece.delta or "" for piece in model(address, "sim-echo").stream_chat(MESSAGES))
    assert said == PROMPT, said


def tools(address):
    tool = FunctionTool.from_defaults(look_up, name=TOOL)
    llm = model(address, "sim-small+tools")
    answer = llm.chat_with_tools([tool], user_msg=PROMPT)
    (call,) = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == TOOL and set(call.tool_kwargs) == {"city", "days"}, call
    for last in llm.stream_chat_with_tools([tool], user_msg=PROMPT):
        pass
    (streamed,) = llm.get_tool_calls_from_response(last)
    assert set(streamed.tool_kwargs) == {"city", "days"}, streamed


def schema(address):
    structured = model(address, "sim-small").as_structured_llm(Weather)
    assert isinstance(structured.chat(MESSAGES).raw, Weather)


def image(address):
    blocks = [TextBlock(text=PROMPT), ImageBlock(url=IMAGE_URL)]
    assert model(address, "sim-small").chat([ChatMessage(role="user", blocks=blocks)]).message.content


def errors(address):
    raises(openai.NotFoundError, lambda: model(address, "nobody").chat(MESSAGES))
    raises(openai.APIError, lambda: list(model(address, "sim-echo+cut=2").stream_chat(MESSAGES)))


def leaves_in_mid_stream(address):
    long = [ChatMessage(role="user", content=" ".join(["word"] * 400))]
    events = model(address, "sim-echo+drip=50").stream_chat(long)
    next(events)
    events.close()


if __name__ == "__main__":
    run([whole, stream, tools, schema, image, errors, leaves_in_mid_stream])
