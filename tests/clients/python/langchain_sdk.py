"""LangChain with its packages for OpenAI and Anthropic, unmodified."""

import openai
from checks import IMAGE, IMAGE_URL, PROMPT, TOOL, raises, run
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

KEY = "none-is-needed"


class Weather(BaseModel):
    """The form of an answer."""

    city: str
    days: int


@tool(TOOL)
def look_up(city: str, days: int) -> str:
    """Tells the weather."""
    return f"sunny in {city} for {days} days"


def ways(address, model):
    """The same model by each of LangChain's ways to this mesh."""
    chat = {"model": model, "api_key": KEY, "max_retries": 0, "base_url": f"{address}/v1"}
    return [
        ChatOpenAI(**chat, stream_usage=True),
        ChatOpenAI(**chat, use_responses_api=True),
        ChatAnthropic(model=model, api_key=KEY, base_url=address, max_retries=0, max_tokens=400),
    ]


def text(message) -> str:
    return message.text if isinstance(message.text, str) else message.text()


def whole(address):
    for model in ways(address, "sim-echo"):
        answer = model.invoke(PROMPT)
        assert text(answer) == PROMPT, answer
        assert answer.usage_metadata["input_tokens"] > 0, answer


def stream(address):
    for model in ways(address, "sim-echo"):
        answer = None
        for chunk in model.stream(PROMPT):
            answer = chunk if answer is None else answer + chunk
        assert text(answer) == PROMPT, answer
        assert answer.usage_metadata["output_tokens"] > 0, answer


def tools(address):
    for model, after in zip(ways(address, "sim-small+tools"), ways(address, "sim-small"), strict=True):
        bound = model.bind_tools([look_up])
        answer = bound.invoke(PROMPT)
        (call,) = answer.tool_calls
        assert call["name"] == TOOL and set(call["args"]) == {"city", "days"}, call
        streamed = None
        for chunk in bound.stream(PROMPT):
            streamed = chunk if streamed is None else streamed + chunk
        assert set(streamed.tool_calls[0]["args"]) == {"city", "days"}, streamed
        result = ToolMessage(content="sunny", tool_call_id=call["id"])
        assert text(after.bind_tools([look_up]).invoke([HumanMessage(PROMPT), answer, result]))


def schema(address):
    for model in ways(address, "sim-small")[:2]:
        structured = model.with_structured_output(Weather, method="json_schema")
        assert isinstance(structured.invoke(PROMPT), Weather)


def image(address):
    openai_parts = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": IMAGE_URL}}]
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    anthropic_parts = [{"type": "text", "text": PROMPT}, {"type": "image", "source": source}]
    chat, responses, messages = ways(address, "sim-small")
    for model, parts in ((chat, openai_parts), (responses, openai_parts), (messages, anthropic_parts)):
        assert text(model.invoke([HumanMessage(parts)]))


def errors(address):
    chat, responses, messages = ways(address, "nobody")
    raises(openai.NotFoundError, lambda: chat.invoke(PROMPT))
    raises(openai.NotFoundError, lambda: responses.invoke(PROMPT))
    assert raises(Exception, lambda: messages.invoke(PROMPT)).status_code == 404
    for model in ways(address, "sim-echo+cut=2"):
        raises(Exception, lambda model=model: list(model.stream(PROMPT)))


def leaves_in_mid_stream(address):
    for model in ways(address, "sim-echo+drip=50"):
        events = model.stream(" ".join(["word"] * 400))
        next(events)
        events.close()


def embeddings(address):
    model = OpenAIEmbeddings(
        model="sim-embed", base_url=f"{address}/v1", api_key=KEY, check_embedding_ctx_length=False
    )
    assert len(model.embed_documents(["one", "two"])) == 2


if __name__ == "__main__":
    run([whole, stream, tools, schema, image, errors, leaves_in_mid_stream, embeddings])
