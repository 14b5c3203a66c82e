"""Behaviours of the upstream system, in a live session, that no other test of this room states.

Numbers are those of `tests/COVERAGE.md`.
"""

from __future__ import annotations

import base64

import pytest
import trio
from runtimekit import (
    EXPLICIT,
    PROVIDER_MANAGED,
    closing,
    kinds,
    linger,
    meeting,
    of,
    open_config,
    outcome,
    provider,
    refused,
    rest,
    serving,
    take,
    welcoming,
)
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import (
    Conversation,
    OpenAIRealtime,
    RealtimeAudioChunk,
    RealtimeAudioFormat,
    RealtimeExternalSessionTarget,
    RealtimeTextChunk,
    SessionLimits,
    ToolDef,
    ToolResult,
    attach_external_session,
    errors,
    events,
    open_session,
    tool,
)
from meerkat_rt.model.live_config import NULL, RealtimeConfig
from meerkat_rt.providers.openai.dialect import CANONICAL_MODEL
from meerkat_rt.storage import MemoryStore
from meerkat_rt.testing.openai_frames import tone
from meerkat_rt.testing.quiescence import quiescent_after
from meerkat_rt.testing.wires import make_wire
from meerkat_rt.transport import connector

# ---------------------------------------------------------------- a scripted provider


async def test_008_a_script_is_told_in_order_and_then_nothing_for_ever(autojump_clock) -> None:
    async def script(peer) -> None:
        for word in ("one", "two", "three"):
            await peer.text_response(word)
        await peer.close()

    async with meeting(script) as m:
        read = await rest(m.session)
        for _ in range(3):
            assert await m.session.next_event() is None
    assert [event.delta for event in of(read, events.OutputTextDeltaForItem)] == [
        "one",
        "two",
        "three",
    ]
    assert kinds(read)[-1] == "SessionClosed"


async def test_009_each_server_knows_what_its_own_session_sent_in_order(autojump_clock) -> None:
    async with meeting(linger, mode=EXPLICIT) as first, meeting(linger) as second:
        await first.session.send_audio(tone(20))
        await first.session.commit_audio()
        await second.session.send_text("hello")
        await wait_all_tasks_blocked()
    own = [frame["type"] for frame in first.peer.frames()[1:]]
    assert own == ["input_audio_buffer.append", "input_audio_buffer.commit"]
    assert [frame["type"] for frame in second.peer.frames()[1:]] == ["conversation.item.create"]


async def test_011_attaching_to_a_call_that_there_is_not_is_refused(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.reject(404, "no such call")

    pair = make_wire()
    with quiescent_after():
        async with serving(script, wire=pair, client_may_leave=True):
            with pytest.raises(errors.LlmError, match="no such call") as raised:
                async with attach_external_session(
                    RealtimeExternalSessionTarget("rtc_gone"),
                    PROVIDER_MANAGED,
                    provider=provider(pair.client),
                ):
                    raise AssertionError
    assert not raised.value.retryable


async def test_059_what_nobody_knows_is_forwarded_in_order_up_to_a_clean_end(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        for number in range(50):
            await peer.send({"type": f"novelty.{number}", "n": number})
        await peer.close()

    async with meeting(script) as m:
        read, error = await outcome(m.session)
    assert error is None
    told = [event.type for event in of(read, events.UnknownProviderEvent)]
    assert told == [f"novelty.{number}" for number in range(50)]


# ---------------------------------------------------------------- connections that fail


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (TimeoutError("anything at all"), errors.NetworkTimeout),
        (TimeoutError(), errors.NetworkTimeout),
        (ConnectionResetError("the operation timed out"), errors.ConnectionReset),
        (OSError("timed out"), errors.ConnectionReset),
    ],
    ids=repr,
)
@pytest.mark.parametrize("when", ["opening", "open"])
async def test_020_021_a_timeout_of_the_system_is_known_by_its_type_and_not_by_its_words(
    when, cause, error, autojump_clock
) -> None:
    if when == "opening":

        async def open_stream(_host, _port):
            await trio.lowlevel.checkpoint()
            raise cause

        with pytest.raises(errors.LlmError) as raised:
            async with open_session(
                open_config(),
                provider=OpenAIRealtime(
                    api_key="k",
                    base_url="ws://peer/v1",
                    connector=connector("websockets", open_stream=open_stream),
                ),
            ):
                raise AssertionError
        ended: BaseException | None = raised.value
    else:

        def broken(_max_bytes):
            raise trio.BrokenResourceError("the socket broke") from cause

        async def script(peer) -> None:
            await broke.wait()
            await peer.text_response("Last words.")
            await peer.linger()

        broke = trio.Event()
        async with meeting(script, client_may_leave=True) as m:
            await wait_all_tasks_blocked()
            m.wire.client.receive_nowait = broken
            broke.set()
            read, ended = await outcome(m.session)
        assert closing(read).by == "network"
    assert type(ended) is error
    assert ended.retryable


async def test_165_an_attachment_is_ready_when_the_provider_says_so_and_not_before(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        await peer.accept()
        await trio.sleep(3)
        await peer.session_created()
        await peer.linger()

    pair = make_wire()
    async with (
        serving(script, wire=pair),
        attach_external_session(
            RealtimeExternalSessionTarget("rtc_1"), EXPLICIT, provider=provider(pair.client)
        ) as session,
    ):
        assert trio.current_time() == 3
        assert session.is_connected


async def test_167_168_a_conversation_whose_connection_broke_can_be_opened_again(
    autojump_clock,
) -> None:
    kept = Conversation(store=MemoryStore(), id="talk")

    async def breaking(peer) -> None:
        await peer.expect_item()
        await peer.text_response("Good morning.", await peer.expect("response.create"))
        await peer.socket.drop()

    async with serving(welcoming(breaking), client_may_leave=True) as server:
        async with open_session(
            open_config(), provider=provider(server.wire.client), store=kept
        ) as session:
            await session.send_input(RealtimeTextChunk("hello"))
            _, error = await outcome(session)
    assert isinstance(error, errors.ConnectionReset)

    async with serving(welcoming(linger)) as server:
        async with open_session(
            open_config(), provider=provider(server.wire.client), store=kept
        ) as session:
            said = [message.text_content() for message in session.transcript]
    assert said == ["hello", "Good morning."]


async def test_010_a_server_without_a_script_fails_the_opening_and_holds_nobody(
    autojump_clock,
) -> None:
    began = trio.current_time()
    error = await refused(linger, patience=60)
    assert isinstance(error, errors.NetworkTimeout)
    assert trio.current_time() - began == SessionLimits().connect


# ---------------------------------------------------------------- capabilities


def test_033_a_factory_advertises_the_canonical_model(autojump_clock) -> None:
    canonical = OpenAIRealtime(api_key="k").capabilities()
    settings = OpenAIRealtime(api_key="k").settings(open_config())
    named = OpenAIRealtime(api_key="k", config=RealtimeConfig(model=CANONICAL_MODEL))
    assert canonical == named.capabilities() == settings.capabilities
    assert {"text", "audio"} == set(canonical.input_kinds) == set(canonical.output_kinds)
    deaf = RealtimeConfig(input_audio_transcription=NULL)
    assert not OpenAIRealtime(api_key="k", config=deaf).capabilities().transcript_supported


# ---------------------------------------------------------------- refusals that mean nothing


@pytest.mark.parametrize("when", ["awaiting", "nudged", "speaking"])
async def test_104_105_an_active_response_told_in_prose_alone_is_not_the_applications_affair(
    when, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.user_turn("hello")
        if when == "nudged":
            await peer.expect("response.create")
        response = None
        if when == "speaking":
            response = await peer.response()
            message = await response.message("text")
            await message.text("one ")
        await peer.error(None, message="There is an active response in progress")
        if response is None:
            response = await peer.response()
            message = await response.message("text")
            await message.text("one ")
        await message.text("two")
        await message.done()
        await response.done()
        await peer.linger()

    async with meeting(script) as m:
        read = await take(m.session, events.TurnCompleted)
    assert [event.delta for event in of(read, events.OutputTextDeltaForItem)] == ["one ", "two"]
    assert not of(read, events.ProviderErrorReported)
    assert len(of(read, events.Nudged)) == (when == "nudged")


# ---------------------------------------------------------------- input


async def test_137_audio_in_the_sessions_format_is_appended_as_it_is(autojump_clock) -> None:
    pcm = RealtimeAudioFormat.pcm(24_000)
    async with meeting(linger) as m:
        assert m.session.capabilities.audio_input_format == pcm
        await m.session.send_input(RealtimeAudioChunk.of(tone(40), pcm))
        await wait_all_tasks_blocked()
        (append,) = m.peer.frames("input_audio_buffer.append")
    assert base64.b64decode(append["audio"], validate=True) == tone(40)


async def test_154_an_event_is_read_while_audio_waits_for_a_slow_peer(autojump_clock) -> None:
    async def script(peer) -> None:
        peer.socket.stop_reading()
        await queued.wait()
        await peer.speech_started()
        told.set()
        await peer.linger()

    queued, told = trio.Event(), trio.Event()
    async with meeting(script, wire="lockstep", client_may_leave=True) as m:
        await wait_all_tasks_blocked()
        for _ in range(32):
            await m.session.send_audio(tone(20))
        await wait_all_tasks_blocked()
        assert m.core.lanes.media_bytes > 0
        queued.set()
        await told.wait()
        began = trio.current_time()
        await take(m.session, events.InputSpeechStarted)
        assert trio.current_time() == began
        assert m.core.lanes.media_bytes > 0


async def test_166_a_refused_command_leaves_the_session_usable(autojump_clock) -> None:
    async def script(peer) -> None:
        create = await peer.expect("conversation.item.create")
        await peer.error("invalid_value", to=create, message="not that")
        await peer.expect_item()
        await peer.text_response("Fine.", await peer.expect("response.create"))
        await peer.linger()

    async with meeting(script) as m:
        await m.session.send_text("refused")
        (*_, report) = await take(m.session, events.ProviderErrorReported)
        assert (report.command, report.fault.message) == ("conversation.item.create", "not that")
        await m.session.send_input(RealtimeTextChunk("accepted"))
        await take(m.session, events.TurnCompleted)
        assert m.session.closed is None


async def test_065_staged_texts_are_kept_as_the_users_display_text_under_the_ids_they_are_sent_with(
    autojump_clock,
) -> None:
    ids: list[str] = []

    async def script(peer) -> None:
        items = [await peer.expect_item(role="user") for _ in range(2)]
        ids.extend(item["item"]["id"] for item in items)
        await peer.expect("response.create")
        await peer.linger()

    store = MemoryStore()
    async with serving(welcoming(script)) as server:
        async with open_session(
            open_config(EXPLICIT),
            provider=provider(server.wire.client),
            store=Conversation(store=store, id="talk"),
        ) as session:
            for text in ("one", "two"):
                await session.send_input(RealtimeTextChunk(text))
            staged = [entry.append for entry in (await store.read("talk")).staged]
            await session.commit_turn()
            await take(session, *[events.MessageCommitted] * 2)
            await wait_all_tasks_blocked()
    assert [(each.text, each.role, each.lane) for each in staged] == [
        ("one", "user", "display"),
        ("two", "user", "display"),
    ]
    assert [each.item_id for each in staged] == ids


# ---------------------------------------------------------------- order


async def test_140_reversed_audio_and_control_come_in_the_order_in_which_they_happened(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        response = await peer.response()
        message = await response.message("audio")
        for number in range(3):
            await message.transcript(f"word {number} ")
            await message.audio(bytes([number]) * 480)
        await message.done()
        await response.done()
        await peer.linger()

    async with meeting(script) as m:
        await wait_all_tasks_blocked()  # everything waits, of both kinds
        read = await take(m.session, events.TurnCompleted)
    spoken = of(read, events.OutputAudioTranscriptDeltaForItem, events.OutputAudioChunk)
    assert [
        event.chunk.data[0] if isinstance(event, events.OutputAudioChunk) else event.delta
        for event in spoken
    ] == ["word 0 ", 0, "word 1 ", 1, "word 2 ", 2]


# ---------------------------------------------------------------- interruptions


@pytest.mark.parametrize("how", ["speech", "interrupt"])
async def test_169_speech_and_interrupt_both_end_what_is_heard_and_queued(
    how, autojump_clock
) -> None:
    async def script(peer) -> None:
        peer.skipped = peer.skipped | {"conversation.item.truncate", "conversation.item.delete"}
        response = await peer.response()
        message = await response.message("audio")
        await message.speak("on and on and on", ms=2000)
        if how == "speech":
            await begun.wait()
            await peer.speech_started()
            await response.cancelled(message, reason="turn_detected")
        else:
            await peer.expect("response.cancel", response_id=response.id)
            await response.cancelled(message)
        await peer.linger()

    begun = trio.Event()
    async with meeting(script) as m:
        await take(m.session, events.OutputAudioChunk)
        await wait_all_tasks_blocked()
        assert m.core.events.audio_bytes > 0
        if how == "interrupt":
            await m.session.interrupt()
        begun.set()
        await wait_all_tasks_blocked()
        read = await take(m.session, events.Interrupted, events.TurnCompleted)
        assert m.core.events.audio_bytes == 0
    assert of(read, events.Interrupted) == [events.Interrupted("resp_1")]
    assert of(read, events.TurnCompleted)[0].stop_reason == "cancelled"
    assert not of(read, events.OutputAudioChunk)


# ---------------------------------------------------------------- tools


@pytest.mark.parametrize(
    ("limits", "own", "seconds"),
    [
        (SessionLimits(), None, 30.0),
        (SessionLimits(tool_deadline=5.0), None, 5.0),
        (SessionLimits(tool_deadline=5.0), 0.5, 0.5),
    ],
    ids=["default", "of the session", "of the tool"],
)
async def test_160_162_a_tool_has_thirty_seconds_unless_the_session_or_the_tool_says_otherwise(
    limits, own, seconds, autojump_clock
) -> None:
    async def slow() -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def script(peer) -> None:
        await peer.tool_call_response(("slow", {}))
        create = await peer.expect_item(type="function_call_output")
        errors_sent.append(create["item"]["output"])
        await peer.expect("response.create")
        await peer.linger()

    errors_sent: list[str] = []
    async with meeting(script, tools=[tool(slow, deadline=own)], limits=limits, patience=60) as m:
        await take(m.session, events.ToolCallRequested)
        began = trio.current_time()
        (*_, finished) = await take(m.session, events.ToolCallFinished)
        assert trio.current_time() - began == seconds
        assert (finished.outcome, finished.elapsed_ms) == ("timeout", seconds * 1000)
        await wait_all_tasks_blocked()
        assert m.session.closed is None
        assert m.session.transcript == ()
    assert len(errors_sent) == 1
    assert f"{seconds:g} s" in errors_sent[0]


async def test_161_a_tool_that_just_makes_it_is_a_result_and_no_error(autojump_clock) -> None:
    async def nearly() -> str:
        await trio.sleep(0.499)
        return "made it"

    async def script(peer) -> None:
        (call_id,) = await peer.tool_call_response(("nearly", {}))
        assert await peer.expect_tool_output(call_id) == "made it"
        await peer.expect("response.create")
        await peer.linger()

    async with meeting(script, tools=[tool(nearly, deadline=0.5)]) as m:
        (*_, finished) = await take(m.session, events.ToolCallFinished)
        assert (finished.outcome, finished.elapsed_ms) == ("result", 499)
        await trio.sleep(1)
        assert len(m.peer.frames("conversation.item.create")) == 1


async def test_211_reversed_the_application_may_answer_a_call_that_it_owes(autojump_clock) -> None:
    async def script(peer) -> None:
        (call_id,) = await peer.tool_call_response(("ask", {}))
        assert await peer.expect_tool_output(call_id) == "yes"
        await peer.text_response("Yes.", await peer.expect("response.create"))
        await peer.linger()

    config = open_config().with_visible_tools([ToolDef(name="ask")])
    async with meeting(script, config=config) as m:
        (*_, called) = await take(m.session, events.ToolCallRequested)
        await m.session.submit_tool_result(ToolResult(tool_use_id=called.call_id, content="yes"))
        read = await take(m.session, events.ToolCallFinished)
        (finished,) = of(read, events.ToolCallFinished)
        assert type(finished.to_public_event()).__name__ == "ToolCallCompleted"
        with pytest.raises(errors.InvalidRequest, match="made no tool call"):
            await m.session.submit_tool_result(ToolResult(tool_use_id="other", content="no"))
        await take(m.session, events.OutputTextDeltaForItem, events.TurnCompleted)
