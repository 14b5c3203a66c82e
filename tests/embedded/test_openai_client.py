"""The vendor's own client, on asyncio in a thread, against our server on Trio."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
import trio
from openai import AsyncOpenAI
from support.embedded_client import options
from support.embedded_session import appends, function_tool, spoken_turn
from support.openai_oracle import problems

from meerkat_rt.embedded import serve_embedded

PATIENCE = 20  # seconds; nothing takes one

AUDIO = {"type": "audio/pcm", "rate": 24000}


def drive(conversation, **changes):
    """Serve, and run an asyncio conversation with the openai client in a thread."""

    def in_thread(authority: str):
        async def main():
            async with AsyncOpenAI(
                api_key="test-key", websocket_base_url=f"ws://{authority}/v1", max_retries=0
            ) as client:
                return await asyncio.wait_for(conversation(client), PATIENCE)

        return asyncio.run(main())

    async def serve():
        async with serve_embedded(options(token="test-key", **changes)) as server:
            return await trio.to_thread.run_sync(in_thread, server.authority)

    return serve()


async def until(connection, kind: str) -> list:
    events = []
    async for event in connection:
        frame = event.to_dict()
        assert problems(_as_sent(frame), "server") == [], frame
        assert event.type != "error" or kind == "error", event
        events.append(event)
        if event.type == kind:
            return events
    raise AssertionError("the connection ended")


def _as_sent(frame: dict) -> dict:
    return json.loads(json.dumps(frame))


def types(events) -> list[str]:
    return [event.type for event in events]


async def test_a_text_turn():
    async def conversation(client):
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await until(connection, "session.created")
            await connection.session.update(
                session={"type": "realtime", "output_modalities": ["text"]}
            )
            updated = (await until(connection, "session.updated"))[-1]
            assert updated.session.output_modalities == ["text"]
            await connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "What is 6 times 7?"}],
                }
            )
            await connection.response.create(response={"metadata": {"turn": "1"}})
            return await until(connection, "response.done")

    events = await drive(conversation)

    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    done = events[-1].response
    assert text == "That makes 42."
    assert done.status == "completed"
    assert done.output[0].content[0].text == text
    assert done.metadata == {"turn": "1"}
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


async def test_an_audio_turn():
    async def conversation(client):
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(
                session={
                    "type": "realtime",
                    "audio": {
                        "input": {"format": AUDIO, "transcription": {"model": "whisper-1"}},
                        "output": {"format": AUDIO, "voice": "cedar"},
                    },
                }
            )
            await until(connection, "session.updated")
            for event in appends(spoken_turn()):
                await connection.input_audio_buffer.append(audio=event["audio"])
            return await until(connection, "rate_limits.updated")

    events = await drive(conversation)

    assert types(events)[:6] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    audio = b"".join(
        base64.b64decode(event.delta)
        for event in events
        if event.type == "response.output_audio.delta"
    )
    assert len(audio) > 10 * 48000
    (heard,) = [event for event in events if event.type.endswith("transcription.completed")]
    assert heard.transcript == "(1.9 s of speech)"


async def test_a_tool_turn():
    async def conversation(client):
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(
                session={"type": "realtime", "tools": [function_tool()], "tool_choice": "auto"}
            )
            for event in appends(spoken_turn()):
                await connection.input_audio_buffer.append(audio=event["audio"])
            events = await until(connection, "response.done")
            (call,) = events[-1].response.output
            await connection.conversation.item.create(
                item={
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": json.dumps({"temperature": 19}),
                }
            )
            await connection.response.create()
            return call, await until(connection, "response.done")

    call, events = await drive(conversation)

    assert call.name == "get_weather"
    assert json.loads(call.arguments) == {"city": "Lisbon"}
    said = events[-1].response.output[0].content[0].transcript
    assert said == "Here is what get weather says: temperature is 19."


async def test_a_cancelled_turn():
    async def conversation(client):
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "tell me a story"}],
                }
            )
            await connection.response.create()
            delta = (await until(connection, "response.output_audio.delta"))[-1]
            await connection.response.cancel()
            cancelled = (await until(connection, "response.done"))[-1].response
            await connection.conversation.item.truncate(
                item_id=delta.item_id, content_index=0, audio_end_ms=100
            )
            await until(connection, "conversation.item.truncated")
            await connection.response.create(response={"instructions": "say hello"})
            return cancelled, (await until(connection, "response.done"))[-1].response

    cancelled, after = await drive(conversation, pace=20)

    assert cancelled.status == "cancelled"
    assert cancelled.status_details.reason == "client_cancelled"
    assert cancelled.output[0].status == "incomplete"
    assert after.status == "completed"


async def test_a_bad_key_and_a_bad_event_are_reported_to_the_client():
    async def conversation(client):
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await until(connection, "session.created")
            await connection.send({"type": "session.update", "session": {"type": "nonsense"}})
            bad_event = (await until(connection, "error"))[-1].error
        wrong = client.with_options(api_key="wrong")
        async with wrong.realtime.connect(model="gpt-realtime") as connection:
            bad_key = (await until(connection, "error"))[-1].error
        return bad_event, bad_key

    bad_event, bad_key = await drive(conversation)

    assert (bad_event.code, bad_event.param) == ("invalid_value", "session.type")
    assert bad_key.code == "invalid_api_key"


@pytest.mark.parametrize("intent", ["call", "query"])
async def test_attaching_by_call_id(intent):
    async def conversation(client):
        connect = (
            client.realtime.connect(call_id="rtc_1")
            if intent == "call"
            else client.realtime.connect(extra_query={"call_id": "rtc_1"})
        )
        async with connect as connection:
            return (await until(connection, "session.created"))[-1]

    event = await drive(conversation, calls={"rtc_1": "gpt-realtime"})

    assert event.session.model == "gpt-realtime"
