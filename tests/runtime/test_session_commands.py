"""The commands of a session: what reaches the wire, in which order, and what is refused where."""

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
    rest,
    take,
)
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from meerkat_rt import (
    Answered,
    RealtimeAudioChunk,
    RealtimeAudioFormat,
    RealtimeTextChunk,
    RealtimeVideoChunk,
    Refused,
    ResponseModality,
    SessionLlmIdentity,
    ToolDef,
    events,
)
from meerkat_rt.model.conversation import StopReason
from meerkat_rt.model.open_config import RealtimeSessionOpenConfig
from meerkat_rt.runtime import errors
from meerkat_rt.testing.openai_frames import tone
from meerkat_rt.turn.ports import CreateItem

PCM = RealtimeAudioFormat.pcm(24_000)
AUDIO_SHAPE = {
    "conversation": "auto",
    "output_modalities": ["audio"],
    "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}},
}


def sound(appended: list[dict]) -> bytes:
    return b"".join(base64.b64decode(frame["audio"]) for frame in appended)


# ---------------------------------------------------------------- explicit commit


async def test_061_explicit_audio_text_and_commit_come_in_order_and_interrupt_cancels(
    autojump_clock,
) -> None:
    order: list[str] = []

    async def script(peer) -> None:
        peer.skipped = frozenset()
        append = await peer.expect("input_audio_buffer.append")
        assert sound([append]) == tone(100)
        order.append("audio")
        item = await peer.expect_item(role="user", content=[{"type": "input_text", "text": "hi"}])
        assert item["item"]["id"].startswith("mk_text_")
        await peer.expect("input_audio_buffer.commit")
        await peer.committed()
        create = await peer.expect("response.create", response=AUDIO_SHAPE)
        assert "voice" not in create["response"]
        response = await peer.response(create)
        await peer.expect("response.cancel", response_id=response.id)
        await response.cancelled()
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as m:
        await m.session.send_audio(tone(100))
        await wait_all_tasks_blocked()
        await m.session.send_input(RealtimeTextChunk("hi"))
        request = await m.session.commit_turn()
        await take(m.session, events.ResponseStarted)
        await m.session.interrupt()
        read = await take(m.session, events.TurnCompleted)
        assert kinds(read, events.RealtimeTranscript)[:1] == ["Interrupted"]
        outcome = await request.outcome()
    assert isinstance(outcome, Answered)
    assert outcome.stop_reason == "cancelled"
    assert order == ["audio"]


async def test_064_065_staged_texts_are_seen_by_nobody_before_the_commit_and_in_order_after(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        await peer.expect_silence(5)
        items = [await peer.expect_item(role="user") for _ in range(2)]
        ids.extend(item["item"]["id"] for item in items)
        await peer.expect("response.create")
        await peer.linger()

    ids: list[str] = []
    async with meeting(script, mode=EXPLICIT) as m:
        await m.session.send_input(RealtimeTextChunk("one"))
        await m.session.send_input(RealtimeTextChunk("two"))
        with trio.move_on_after(6) as scope:
            await m.session.next_event()
        assert scope.cancelled_caught
        await m.session.commit_turn()
        read = await take(m.session, *[events.MessageCommitted] * 2)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.1) as scope:
            read += [await m.session.next_event()]
        assert scope.cancelled_caught
    turn = ["TurnStarted", "InputTranscriptPartial", "InputTranscriptFinalForItem", "TurnCommitted"]
    assert kinds(read) == [*turn, *turn, "MessageCommitted", "MessageCommitted"]
    finals = of(read, events.InputTranscriptFinalForItem)
    assert [final.item_id for final in finals] == ids
    assert [(final.text, final.content_index) for final in finals] == [("one", 0), ("two", 0)]
    assert finals[0].previous_item_id is None
    assert all(item_id.startswith("mk_text_") and len(item_id) <= 32 for item_id in ids)
    assert [message.text_content() for message in m.session.transcript] == ["one", "two"]


async def test_063_a_turn_committed_as_text_asks_for_text(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.expect_item()
        create = await peer.expect("response.create")
        assert create["response"]["output_modalities"] == ["text"]
        assert "audio" not in create["response"]
        await peer.linger()

    async with meeting(script, mode=EXPLICIT) as m:
        await m.session.send_input(RealtimeTextChunk("write to me"))
        await m.session.commit_turn(modality=ResponseModality.TEXT)
        await wait_all_tasks_blocked()


async def test_067_200_a_turn_can_be_committed_only_where_turns_are_explicit_and_not_empty(
    autojump_clock,
) -> None:
    async with meeting(linger, mode=PROVIDER_MANAGED) as m:
        await m.session.send_audio(tone(20))
        with pytest.raises(errors.InvalidRequest, match="explicit commit"):
            await m.session.commit_turn()
    async with meeting(linger, mode=EXPLICIT) as m:
        with pytest.raises(errors.InvalidRequest, match="no input to commit"):
            await m.session.commit_turn()
        await m.session.send_audio(tone(20))
        await m.session.commit_turn()
        with pytest.raises(errors.InvalidRequest, match="no input to commit"):
            await m.session.commit_turn()


async def test_202_text_staged_and_never_committed_is_nobodys(autojump_clock) -> None:
    async with meeting(linger, mode=EXPLICIT) as m:
        await m.session.send_input(RealtimeTextChunk("never mind"))
    read = await rest(m.session)
    assert kinds(read) == ["SessionClosed"]
    assert m.session.transcript == ()
    assert m.peer.frames("conversation.item.create") == []


# ---------------------------------------------------------------- input


async def test_198_provider_managed_text_is_a_turn_that_is_answered(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.expect_item(role="user", content=[{"type": "input_text", "text": "hello"}])
        response = await peer.response(await peer.expect("response.create"))
        message = await response.message("text")
        await message.text("Good morning.")
        await message.done()
        # Rate limits would come before the announcement if they came in the same read.
        await response.done(rate_limits=False)
        await peer.linger()

    async with meeting(script) as m:
        await m.session.send_input(RealtimeTextChunk("hello"))
        read = await take(m.session, events.TurnCompleted, events.MessageCommitted)
    named = kinds(read, events.RealtimeTranscript, events.OutputTextDeltaForItem)
    assert named == [
        "TurnStarted",
        "InputTranscriptPartial",
        "InputTranscriptFinalForItem",
        "TurnCommitted",
        "MessageCommitted",
        "ResponseStarted",
        "TurnCompleted",
        "MessageCommitted",
    ]
    assert len(m.session.transcript) == 2


@pytest.mark.parametrize(
    "wrong",
    [RealtimeAudioFormat.pcm(16_000), RealtimeAudioFormat.pcm(24_000, 2),
     RealtimeAudioFormat(mime_type="audio/pcmu", sample_rate_hz=8000, channels=1)],
    ids=str,
)  # fmt: skip
async def test_135_136_audio_of_another_format_is_refused_naming_both(
    wrong, autojump_clock
) -> None:
    async with meeting(linger) as m:
        chunk = RealtimeAudioChunk.of(b"\0" * 960, wrong)
        for send in (m.session.send_input, m.session.send_audio):
            with pytest.raises(errors.AudioFormatMismatch) as raised:
                await send(chunk)
            assert str(wrong) in str(raised.value)
            assert str(PCM) in str(raised.value)
        await m.session.send_input(RealtimeAudioChunk.of(b"\0" * 960, PCM))  # the session lives
        await wait_all_tasks_blocked()
    assert len(m.peer.frames("input_audio_buffer.append")) == 1


async def test_what_is_not_audio_is_refused_before_it_is_sent(autojump_clock) -> None:
    async with meeting(linger) as m:
        with pytest.raises(errors.InvalidInputShape, match="not whole samples"):
            await m.session.send_audio(b"\0" * 3)
        with pytest.raises(errors.RequestTooLarge, match="at most 15728640"):
            await m.session.send_audio(b"\0" * (15 * 1024 * 1024 + 2))
        with pytest.raises(errors.InvalidInputShape, match="RealtimeVideoChunk is not accepted"):
            await m.session.send_input(RealtimeVideoChunk(mime_type="video/mp4", data=b"x"))
        with assert_checkpoints():
            assert await m.session.send_audio(b"") == 0
        with assert_checkpoints():
            assert await m.session.send_audio(bytearray(2)) == 0
        await wait_all_tasks_blocked()
    assert len(m.peer.frames("input_audio_buffer.append")) == 1


async def test_every_command_is_a_checkpoint_and_cancelled_it_does_nothing(autojump_clock) -> None:
    async with meeting(linger, mode=EXPLICIT) as m:
        session = m.session
        commands = [
            lambda: session.send_input(RealtimeTextChunk("x")),
            lambda: session.send_audio(b"\0\0"),
            lambda: session.send_text("x"),
            session.commit_turn,
            session.commit_audio,
            session.clear_audio,
            session.create_response,
            session.interrupt,
            lambda: session.refresh_projection(open_config(EXPLICIT)),
        ]
        for command in commands:
            with trio.CancelScope() as scope:
                scope.cancel()
                await command()
            assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert len(m.peer.received) == 1, "only the session.update of the opening"
        for command in commands[:-1]:
            with assert_checkpoints():
                await command()
        await wait_all_tasks_blocked()
        assert len(m.peer.received) > 1


# ---------------------------------------------------------------- responses


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modality": "smoke signals"}, "allowed: "),
        ({"max_output_tokens": 0}, "max_output_tokens is 0"),
        ({"metadata": {"k": "v" * 513}}, "too long"),
        ({"metadata": {"k": 5}}, "metadata maps text to text"),
        ({"metadata": {str(n): "v" for n in range(16)}}, "16 pairs"),
        ({"input": ({"x": object()},)}, "JSON"),
    ],
)
async def test_an_option_that_cannot_be_said_is_refused_where_it_is_given(
    options, words, autojump_clock
) -> None:
    async with meeting(linger) as m:
        with pytest.raises(errors.InvalidRequest, match=words):
            await m.session.create_response(**options)
        assert m.core.requests == {}
        await m.session.send_text("still here")


class Wordless:
    """A codec that lacks the words for something."""

    def __init__(self, codec) -> None:
        self._codec = codec

    def __getattr__(self, name: str):
        return getattr(self._codec, name)

    def encode(self, command):
        if isinstance(command, CreateItem) and command.message.text_content() == "bad":
            raise errors.RequestTooLarge("too much", 9, 1)
        return self._codec.encode(command)


async def test_a_command_that_turns_out_to_be_unsayable_is_refused_and_the_session_lives(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        await peer.expect_item(role="user", content=[{"type": "input_text", "text": "fine"}])
        await peer.linger()

    async with meeting(script) as m:
        m.core.link.codec = Wordless(m.core.link.codec)
        await m.session.send_text("bad")
        await m.session.send_text("fine")
        read = await take(m.session, events.ProviderErrorReported)
        (reported,) = of(read, events.ProviderErrorReported)
        assert reported.command == "conversation.item.create"
        assert reported.fault.code == "not_sent"
        assert "too much" in reported.fault.message
        await wait_all_tasks_blocked()
    assert closing(await rest(m.session)).clean


async def test_a_refused_request_says_why(autojump_clock) -> None:
    async def script(peer) -> None:
        create = await peer.expect("response.create")
        await peer.error("invalid_value", to=create, message="no such tool", param="tool_choice")
        await peer.linger()

    async with meeting(script) as m:
        request = await m.session.create_response(tool_choice="nothing")
        outcome = await request.outcome()
        assert isinstance(outcome, Refused)
        assert outcome.fault.message == "no such tool"
        read = await take(m.session, events.ProviderErrorReported)
        assert read[-1].request_id == request.id


async def test_a_response_out_of_band_holds_no_slot_and_writes_no_history(autojump_clock) -> None:
    async def script(peer) -> None:
        aside = await peer.expect("response.create", response={"conversation": "none"})
        assert aside["response"]["metadata"]["topic"] == "weather"
        main = await peer.expect("response.create", response={"conversation": "auto"})
        await peer.text_response("In the conversation.", main)
        await peer.text_response("Beside it.", aside)
        await peer.linger()

    async with meeting(script) as m:
        aside = await m.session.create_response(
            in_conversation=False, metadata={"topic": "weather"}, modality="text"
        )
        await m.session.create_response()
        read = await take(m.session, events.TurnCompleted, events.TurnCompleted)
        started = of(read, events.ResponseStarted)
        assert [event.in_conversation for event in started] == [True, False]
        assert started[1].request_id == aside.id
        assert isinstance(await aside.outcome(), Answered)
        assert len(m.session.transcript) == 1


async def test_it_is_stopped_by_its_id_and_not_without(autojump_clock) -> None:
    async def script(peer) -> None:
        create = await peer.expect("response.create", response={"conversation": "none"})
        response = await peer.response(create)
        message = await response.message("text")
        await message.text("Beside")
        cancel = await peer.expect("response.cancel")
        assert cancel["response_id"] == response.id
        await message.text(" it.")
        await response.cancelled(message)
        await peer.linger()

    async with meeting(script) as m:
        aside = await m.session.create_response(in_conversation=False, modality="text")
        read = await take(m.session, events.OutputTextDeltaForItem)
        await m.session.interrupt()
        await m.session.interrupt(read[-1].response_id)
        read = await take(m.session, events.TurnCompleted)
        assert not of(read, events.OutputTextDeltaForItem)
        assert kinds(read)[-2:] == ["Interrupted", "TurnCompleted"]
        outcome = await aside.outcome()
        assert isinstance(outcome, Answered)
        assert outcome.stop_reason is StopReason.CANCELLED
        assert len(m.session.transcript) == 0


# ---------------------------------------------------------------- refresh


async def test_106_127_a_refresh_sends_one_update_and_keeps_what_comes_meanwhile(
    autojump_clock,
) -> None:
    async def script(peer) -> None:
        update = await peer.expect("session.update")
        assert [tool["name"] for tool in update["session"]["tools"]] == ["new"]
        assert update["session"]["output_modalities"] == ["audio"]
        assert "audio" not in update["session"]
        response = await peer.response()
        message = await response.message("text")
        await message.text("Meanwhile")
        await peer.session_updated(update)
        await peer.linger()

    async with meeting(script) as m:
        config = open_config().with_visible_tools([ToolDef(name="new")])
        await m.session.refresh_projection(config)
        read = await take(m.session, events.OutputTextDeltaForItem)
        assert read[-1].delta == "Meanwhile"
    assert len(m.peer.frames("session.update")) == 2


async def test_126_refreshes_replay_no_history(autojump_clock) -> None:
    async def script(peer) -> None:
        for _ in range(3):
            await peer.session_updated(await peer.expect("session.update"))
        await peer.linger()

    async with meeting(script) as m:
        for _ in range(3):
            await m.session.refresh_projection(open_config())
    assert len(m.peer.frames("session.update")) == 4
    assert m.peer.frames("conversation.item.create") == []


async def test_a_refused_refresh_is_raised_and_the_session_lives(autojump_clock) -> None:
    async def script(peer) -> None:
        update = await peer.expect("session.update")
        await peer.error("cannot_update_voice", to=update, param="session.audio.output.voice")
        await peer.session_updated(await peer.expect("session.update"))
        await peer.linger()

    async with meeting(script) as m:
        with pytest.raises(errors.InvalidRequest, match="voice"):
            await m.session.refresh_projection(open_config())
        await m.session.refresh_projection(open_config())
        assert m.core.acknowledgements == {}


async def test_128_what_needs_another_session_is_refused_before_anything_is_sent(
    autojump_clock,
) -> None:
    async with meeting(linger) as m:
        other = RealtimeSessionOpenConfig(PROVIDER_MANAGED, SessionLlmIdentity(model="other"))
        with pytest.raises(errors.InvalidRequest, match="another session"):
            await m.session.refresh_projection(other)
        with pytest.raises(errors.InvalidRequest, match="turning mode"):
            await m.session.refresh_projection(open_config(EXPLICIT))
        await wait_all_tasks_blocked()
    assert len(m.peer.frames()) == 1
