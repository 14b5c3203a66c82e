"""The vendor's own client, on asyncio in a thread, against our server on Trio."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trio
import trustme
from google import genai
from google.genai import errors, types
from support.embedded_client import options
from support.embedded_session import spoken_turn_16k

from meerkat_rt.embedded import Say, ServerLimits, serve_embedded

PATIENCE = 20  # seconds; nothing takes one
MODEL = "gemini-test"
AUDIO = "audio/pcm;rate=16000"
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={"city": types.Schema(type=types.Type.STRING)},
                required=["city"],
            ),
        )
    ]
)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def drive(authority):
    """Serve with TLS, which the client insists on, and run a conversation with it in a thread."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def in_thread(address: str, conversation, key: str):
        async def main():
            client = genai.Client(
                api_key=key,
                http_options=types.HttpOptions(
                    base_url=f"https://{address}", async_client_args={"ssl": trusting}
                ),
            )
            try:
                return await asyncio.wait_for(conversation(client.aio.live), PATIENCE)
            finally:
                await client.aio.aclose()
                client.close()

        return asyncio.run(main())

    async def serve(conversation, *, key: str = "test-key", **changes):
        with trio.fail_after(2 * PATIENCE):
            async with serve_embedded(
                options(token="test-key", **changes), ssl_context=served
            ) as server:
                return await trio.to_thread.run_sync(in_thread, server.authority, conversation, key)

    return serve


async def turn(session) -> list[types.LiveServerMessage]:
    """The messages of one turn of the model's, as the client sees it."""
    return [message async for message in session.receive()]


def text_of(messages) -> str:
    return "".join(message.text or "" for message in messages)


def said(messages) -> str:
    contents = [message.server_content for message in messages if message.server_content]
    return "".join(
        content.output_transcription.text or ""
        for content in contents
        if content.output_transcription
    )


def heard(messages) -> str:
    contents = [message.server_content for message in messages if message.server_content]
    return "".join(
        content.input_transcription.text or ""
        for content in contents
        if content.input_transcription
    )


async def test_a_text_turn(drive):
    async def conversation(live):
        config = {"response_modalities": ["TEXT"]}
        async with live.connect(model=MODEL, config=config) as session:
            assert session.session_id
            await session.send_client_content(
                turns={"role": "user", "parts": [{"text": "What is 6 times 7?"}]}
            )
            return await turn(session)

    messages = await drive(conversation)

    assert text_of(messages) == "That makes 42."
    usage = messages[-1].usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.response_token_count
    assert messages[-1].server_content.turn_complete
    assert messages[-2].server_content.generation_complete


async def speak(session, audio: bytes) -> None:
    for start in range(0, len(audio), 3200):
        await session.send_realtime_input(
            audio=types.Blob(data=audio[start : start + 3200], mime_type=AUDIO)
        )


async def test_an_audio_turn(drive):
    async def conversation(live):
        config = types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            speech_config=types.SpeechConfig(
                voice_config=types.VoiceConfig(
                    prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Kore")
                )
            ),
            input_audio_transcription=types.AudioTranscriptionConfig(),
            output_audio_transcription=types.AudioTranscriptionConfig(),
            realtime_input_config=types.RealtimeInputConfig(
                automatic_activity_detection=types.AutomaticActivityDetection(
                    silence_duration_ms=600
                )
            ),
        )
        async with live.connect(model=MODEL, config=config) as session:
            await speak(session, spoken_turn_16k())
            return await turn(session)

    messages = await drive(conversation)

    audio = b"".join(message.data or b"" for message in messages)
    assert len(audio) > 10 * 48_000
    assert heard(messages) == "(1.9 s of speech)"
    assert "meerkats" in said(messages)
    kinds = [m.voice_activity.voice_activity_type for m in messages if m.voice_activity]
    assert kinds == [
        types.VoiceActivityType.ACTIVITY_START,
        types.VoiceActivityType.ACTIVITY_END,
    ]


async def test_an_audio_turn_with_activity_told_by_the_client(drive):
    async def conversation(live):
        config = types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            output_audio_transcription=types.AudioTranscriptionConfig(),
            realtime_input_config=types.RealtimeInputConfig(
                automatic_activity_detection=types.AutomaticActivityDetection(disabled=True)
            ),
        )
        async with live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(activity_start=types.ActivityStart())
            await speak(session, spoken_turn_16k())
            await session.send_realtime_input(activity_end=types.ActivityEnd())
            return await turn(session)

    assert "meerkats" in said(await drive(conversation))


async def test_a_tool_turn(drive):
    async def conversation(live):
        config = types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            tools=[WEATHER],
            output_audio_transcription=types.AudioTranscriptionConfig(),
        )
        async with live.connect(model=MODEL, config=config) as session:
            await session.send_realtime_input(text="What is the weather in Porto?")
            calls, spoken = [], []
            async for message in session.receive():
                spoken.append(message)
                if message.tool_call is None:
                    continue
                calls += message.tool_call.function_calls
                await session.send_tool_response(
                    function_responses=[
                        types.FunctionResponse(
                            id=call.id, name=call.name, response={"temperature": 19}
                        )
                        for call in message.tool_call.function_calls
                    ]
                )
            return calls, spoken

    calls, messages = await drive(conversation)

    assert [(call.name, call.args) for call in calls] == [("get_weather", {"city": "Porto"})]
    assert said(messages) == "Here is what get weather says: temperature is 19."


async def test_an_interrupted_turn(drive):
    async def conversation(live):
        config = types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            output_audio_transcription=types.AudioTranscriptionConfig(),
        )
        async with live.connect(model=MODEL, config=config) as session:
            await session.send_client_content(
                turns={"role": "user", "parts": [{"text": "Tell me a story"}]}
            )
            messages = []
            async for message in session.receive():
                messages.append(message)
                if sum(map(bool, (each.data for each in messages))) == 3 and message.data:
                    await speak(session, spoken_turn_16k())
            return messages, await turn(session)

    cut, answer = await drive(conversation, pace=20, playback=20)

    kinds = [m.server_content for m in cut if m.server_content]
    assert [bool(content.interrupted) for content in kinds].count(True) == 1
    assert not any(content.generation_complete for content in kinds)
    assert kinds[-1].turn_complete
    assert sum(len(m.data or b"") for m in cut) < sum(len(m.data or b"") for m in answer)
    assert any(m.server_content and m.server_content.generation_complete for m in answer)


async def test_a_session_is_resumed_on_another_connection(drive):
    async def conversation(live):
        handle = None
        config = {"response_modalities": ["TEXT"], "session_resumption": {}}
        async with live.connect(model=MODEL, config=config) as session:
            first = session.session_id
            await session.send_client_content(turns={"parts": [{"text": "I am Ada"}]})
            await turn(session)
            update = await anext(aiter(session.receive()))
            handle = update.session_resumption_update.new_handle
            assert update.session_resumption_update.resumable
        config["session_resumption"] = {"handle": handle}
        async with live.connect(model=MODEL, config=config) as session:
            await session.send_client_content(turns={"parts": [{"text": "Who?"}]})
            return first, session.session_id, text_of(await turn(session))

    first, second, text = await drive(conversation, brain=Remembering())

    assert first == second
    assert text == "3 entries; the first is 'I am Ada'"


class Remembering:
    def reply(self, request):
        first = request.history[0].text
        return [Say(f"{len(request.history)} entries; the first is {first!r}")]


async def test_a_connection_is_ended_with_a_warning(drive):
    async def conversation(live):
        async with live.connect(model=MODEL, config={}) as session:
            left = None
            with pytest.raises(errors.APIError) as caught:
                while True:
                    async for message in session.receive():
                        left = message.go_away.time_left
            return left, caught.value

    left, error = await drive(
        conversation,
        limits=ServerLimits(connection_seconds=0.4, go_away_seconds=0.3, close_seconds=0.5),
    )

    assert left == "0.3s"
    assert error.code == 1008
    assert "The operation was aborted." in str(error)


@pytest.mark.parametrize(
    ("key", "model", "config", "code", "text"),
    [
        ("wrong", MODEL, {}, 1007, "API key not valid"),
        ("test-key", "gemini-none", {}, 1008, "is not found for API version"),
        ("test-key", MODEL, {"response_modalities": ["TEXT", "AUDIO"]}, 1007, "one response mod"),
        ("test-key", MODEL, {"session_resumption": {"handle": "x"}}, 1007, "resumption handle"),
        ("test-key", MODEL, {"tools": [WEATHER, WEATHER]}, 1007, "Duplicate function"),
    ],
    ids=["key", "model", "modalities", "handle", "tools"],
)
async def test_what_is_wrong_is_in_the_close_frame(drive, key, model, config, code, text):
    async def conversation(live):
        with pytest.raises(errors.APIError) as caught:
            async with live.connect(model=model, config=config):
                pass
        return caught.value

    error = await drive(conversation, key=key, models=frozenset({MODEL}))

    assert error.code == code
    assert text in str(error)


async def test_instructions_and_tools_are_replaced_in_a_live_session(drive):
    async def conversation(live):
        config = types.LiveConnectConfig(
            response_modalities=[types.Modality.TEXT],
            tools=[WEATHER],
            system_instruction="Be brief",
        )
        async with live.connect(model=MODEL, config=config) as session:
            await session.send_client_content(turns={"parts": [{"text": "?"}]})
            before = text_of(await turn(session))
            await session.send_context_update(system_instruction="Be long", tools=[])
            await session.send_client_content(turns={"parts": [{"text": "?"}]})
            return before, text_of(await turn(session))

    before, after = await drive(conversation, brain=Describing())

    assert before == "Be brief: get_weather"
    assert after == "Be long: "


class Describing:
    def reply(self, request):
        names = ", ".join(tool.name for tool in request.tools)
        return [Say(f"{request.instructions}: {names}")]
