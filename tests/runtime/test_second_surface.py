"""The second seed's calls on a session: nothing is silently ignored, everything keeps its owner."""

from __future__ import annotations

import base64

import pytest
import trio
from runtimekit import EXPLICIT, linger, meeting, open_config, rest, take

from meerkat_rt import (
    RealtimeAudioChunk,
    RealtimeAudioFormat,
    RealtimeConfig,
    RealtimeTextChunk,
    ToolDef,
    codec,
    errors,
)
from meerkat_rt.model import client_events as client
from meerkat_rt.model import events as ev
from meerkat_rt.model import server_events as server
from meerkat_rt.testing.openai_peer import OpenAIPeer

TONE = b"\x01\x00" * 2400  # 100 ms


async def test_base64_audio_is_the_same_as_bytes_and_bad_base64_is_refused_by_name(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with meeting(linger) as meet:
        await meet.session.send_audio_base64(base64.b64encode(TONE).decode())
        await meet.session.send_audio(TONE)
        for bad, words in [
            ("@@@@", "not base64"),
            ("AAA", "not base64"),
            ("AAAA", "whole samples"),
        ]:
            with pytest.raises(errors.InvalidInputShape, match=words):
                await meet.session.send_audio_base64(bad)
        await trio.testing.wait_all_tasks_blocked()
        frames = meet.peer.frames("input_audio_buffer.append")
    assert b"".join(base64.b64decode(frame["audio"]) for frame in frames) == TONE * 2


async def test_send_text_never_asks_for_a_response_and_send_text_and_wait_does(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.expect_silence(5)
        await peer.item_created(await peer.expect("conversation.item.create"))
        await peer.text_response("Good morning.", await peer.expect("response.create"))
        await peer.linger()

    async with meeting(script) as meet:
        await meet.session.send_text("context")
        await trio.sleep(6)
        read = await meet.session.send_text_and_wait("hello")
    assert isinstance(read[-1], ev.TurnCompleted)
    assert "".join(e.delta for e in read if isinstance(e, ev.OutputTextDeltaForItem)) == (
        "Good morning."
    )


async def test_send_audio_and_wait_asks_for_the_answer_where_nobody_else_would(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.expect("input_audio_buffer.append")
        await peer.expect("input_audio_buffer.commit")
        await peer.committed()
        await peer.audio_response("Yes.", create=await peer.expect("response.create"))
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as meet:
        chunk = RealtimeAudioChunk.of(TONE, RealtimeAudioFormat.pcm(24_000))
        with trio.fail_after(5):
            read = await meet.session.send_audio_and_wait(chunk)
    assert any(isinstance(event, ev.OutputAudioChunk) for event in read)
    assert isinstance(read[-1], ev.TurnCompleted)


async def test_collect_audio_gives_every_piece_and_raises_the_providers_error(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.audio_response("Yes.", create=await peer.expect("response.create"))
        await peer.expect("response.create")
        await peer.error("server_error", kind="server_error")
        await peer.linger()

    async with meeting(script) as meet:
        await meet.session.create_response()
        pieces = await meet.session.collect_audio()
        assert sum(map(len, pieces)) > 0
        assert all(isinstance(piece, bytes) for piece in pieces)
        await meet.session.create_response()
        with pytest.raises(errors.LlmError):
            await meet.session.collect_audio()


async def test_those_that_wait_for_an_answer_get_what_ended_the_session_instead(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.expect_item(type="message")
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("audio")
        await message.speak("Good", ms=40)
        await peer.close(1013, "overloaded")

    for waiting in ("collect_audio", "send_text_and_wait"):
        async with meeting(script) as meet:
            with pytest.raises(errors.ServerOverloaded):
                if waiting == "collect_audio":
                    await meet.session.send_input(RealtimeTextChunk("hello"))
                    await meet.session.collect_audio()
                else:
                    await meet.session.send_text_and_wait("hello")


async def test_a_message_of_the_providers_own_goes_as_it_is_unless_it_has_an_owner(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with meeting(linger) as meet:
        await meet.session.send_event({"type": "session.from_the_future", "x": 1})
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(errors.InvalidRequest, match=r"ResponseCreate\(\.\.\.\)"):
            await meet.session.send_event({"type": "response.create"})
        with pytest.raises(errors.InvalidRequest, match="needs a type"):
            await meet.session.send_event({"x": 1})
        await trio.testing.wait_all_tasks_blocked()
        (sent,) = meet.peer.frames()[1:]
    assert (sent["type"], sent["x"]) == ("session.from_the_future", 1)


async def test_a_tool_response_of_any_json_settles_its_call_once(
    autojump_clock: trio.abc.Clock,
) -> None:
    outputs: list[object] = []

    async def script(peer: OpenAIPeer) -> None:
        (call_id,) = await peer.tool_call_response(("lookup", {"q": "otter"}))
        outputs.append(await peer.expect_tool_output(call_id))
        await peer.expect("response.create")
        await peer.linger()

    config = open_config()
    config = config.with_visible_tools([ToolDef(name="lookup")])
    async with meeting(script, config=config) as meet:
        read = await take(meet.session, ev.ToolCallRequested, ev.TurnCompleted)
        (call,) = (e.call_id for e in read if isinstance(e, ev.ToolCallRequested))
        with pytest.raises(errors.InvalidRequest, match="JSON"):
            await meet.session.send_tool_response(client.ToolResponse(call, object()))
        await meet.session.send_tool_response(client.ToolResponse(call, [1, {"a": None}]))
        with pytest.raises(errors.ToolCallSettled):
            await meet.session.send_tool_response(client.ToolResponse(call, "again"))
        await trio.sleep(1)
    assert outputs == [[1, {"a": None}]]


async def test_raw_events_go_as_they_are_and_those_with_an_owner_go_its_way(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with meeting(linger, mode=EXPLICIT) as meet:
        session = meet.session
        await session.send_event(client.SessionUpdate({"type": "realtime", "instructions": "x"}))
        await session.send_event(client.ConversationItemDelete("item_9"))
        await session.send_event(client.ConversationItemRetrieve("item_8"))
        await session.send_event(client.ConversationItemCreate.user_text("raw", item_id="mine"))
        await session.send_event(client.Message("user", "neutral"))
        await session.send_event(client.AudioDelta(TONE))
        await session.send_event(client.InputAudioBufferCommit())
        await session.send_event(client.ResponseCreate({"instructions": "be brief"}))
        await trio.testing.wait_all_tasks_blocked()
        sent = meet.peer.frames()[1:]
        with pytest.raises(errors.InvalidRequest, match="system"):
            await session.send_event(client.Message("system", "no"))
        with pytest.raises(errors.InvalidInputShape, match="8000 Hz"):
            await session.send_event(client.AudioDelta(TONE, format=RealtimeAudioFormat.pcm(8000)))
        with pytest.raises(errors.InvalidRequest, match="not a client event"):
            await session.send_event("response.create")  # type: ignore[arg-type]
    assert [frame["type"] for frame in sent] == [
        "session.update",
        "conversation.item.delete",
        "conversation.item.retrieve",
        "conversation.item.create",
        "conversation.item.create",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "response.create",
    ]
    assert sent[0]["session"]["instructions"] == "x"
    assert sent[3]["item"]["id"] == "mine"
    assert sent[-1]["response"]["instructions"] == "be brief"


async def test_a_raw_cancel_interrupts(autojump_clock: trio.abc.Clock) -> None:
    async def script(peer: OpenAIPeer) -> None:
        play = await peer.response(await peer.expect("response.create"))
        await peer.expect("response.cancel", response_id=play.id)
        await peer.linger()

    async with meeting(script) as meet:
        await meet.session.create_response()
        await take(meet.session, ev.ResponseStarted)
        await meet.session.send_event(client.ResponseCancel())
        await take(meet.session, ev.Interrupted)
        await trio.testing.wait_all_tasks_blocked()


async def test_events_is_the_session_itself_as_an_iterator(autojump_clock: trio.abc.Clock) -> None:
    async with meeting(linger) as meet:
        assert meet.session.events() is meet.session
        assert meet.session.is_connected
        assert meet.session.session_id is not None
    assert not meet.session.is_connected
    assert isinstance((await rest(meet.session))[-1], ev.SessionClosed)


async def test_every_event_of_a_turn_has_its_server_event_view_and_json(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.user_turn("hello there")
        await peer.audio_response("Good morning.")
        await peer.linger()

    read: list[ev.RealtimeSessionEvent] = []
    async with meeting(script) as meet:
        read += await take(meet.session, ev.TurnCompleted)
    views = [view for event in read if (view := event.to_server_event()) is not None]
    found = {type(view) for view in views}
    assert {
        server.SpeechStarted,
        server.SpeechStopped,
        server.AudioCommitted,
        server.InputTranscriptCompleted,
        server.ResponseCreated,
        server.TranscriptDelta,
        server.AudioDelta,
        server.TranscriptDone,
        server.ResponseDone,
    } <= found
    for view in views:
        data = codec.encode(view)
        assert data["type"] == server.SERVER_EVENT_TAGS[type(view)]
        assert codec.decode(data, server.ServerEvent) == view


async def test_a_context_mutation_is_applied_when_the_provider_says_so_and_adds_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        first = await peer.expect("session.update")
        assert first["session"]["instructions"] == "be brief"
        assert "audio" not in first["session"]
        await trio.sleep(2)
        await peer.session_updated(first)
        second = await peer.expect("session.update")
        assert second["session"]["audio"]["output"]["voice"] == "cedar"
        await peer.session_updated(second)
        create = await peer.expect("response.create")
        assert create["response"]["audio"]["output"]["voice"] == "cedar"
        await peer.expect("session.update")
        await peer.error("cannot_update_voice")
        await peer.linger()

    async with meeting(script) as meet:
        start = trio.current_time()
        assert await meet.session.mutate_context(RealtimeConfig(instruction="be brief")) == (
            client.Applied()
        )
        assert trio.current_time() - start == 2
        assert await meet.session.mutate_context(RealtimeConfig(voice="cedar")) == client.Applied()
        await meet.session.create_response()
        with pytest.raises(errors.LlmError):
            await meet.session.mutate_context(RealtimeConfig(voice="marin"))
        assert meet.core.dialect.config.voice == "cedar"


async def test_what_needs_another_session_comes_back_as_the_whole_merged_configuration(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.session_updated(await peer.expect("session.update"))
        await peer.expect_silence(5)
        await peer.linger()

    async with meeting(script) as meet:
        await meet.session.mutate_context(RealtimeConfig(instruction="be brief"))
        outcome = await meet.session.mutate_context(RealtimeConfig(model="another"))
        assert outcome == client.RequiresResumption(
            RealtimeConfig(instruction="be brief", model="another")
        )
        with pytest.raises(errors.InvalidConfig, match="temperature"):
            await meet.session.mutate_context(RealtimeConfig(temperature=0.5))
        await trio.sleep(6)
