"""How a session is opened: what is refused before connecting, and what goes wrong after."""

from __future__ import annotations

import pytest
import trio
from runtimekit import (
    CONNECTORS,
    EXPLICIT,
    PROVIDER_MANAGED,
    closing,
    kinds,
    linger,
    meeting,
    of,
    open_config,
    provider,
    refused,
    rest,
    serving,
    take,
)
from trio.testing import wait_all_tasks_blocked

from meerkat_rt import (
    OpenAIRealtime,
    RealtimeConfig,
    RealtimeExternalSessionTarget,
    RealtimeSessionOpenConfig,
    RealtimeTurningMode,
    SessionLlmIdentity,
    ToolDef,
    ToolSet,
    UserMessage,
    VadConfig,
    VadMode,
    attach_external_session,
    events,
    open_session,
)
from meerkat_rt.model.conversation import BlobRef, ImageContent, Provider
from meerkat_rt.runtime import errors
from meerkat_rt.testing.quiescence import quiescent_after
from meerkat_rt.testing.wires import make_wire
from meerkat_rt.transport import connector

# ---------------------------------------------------------------- before connecting


class Untouched:
    """A connector that nobody may use."""

    name = "untouched"

    async def connect(self, target, *, nursery):
        raise AssertionError("something was connected")


def weather(city: str) -> str:
    return city


@pytest.mark.parametrize(
    ("settings", "config", "tools", "error"),
    [
        pytest.param(
            {"config": RealtimeConfig(turn_detection=VadConfig(mode=VadMode.NONE))},
            open_config(PROVIDER_MANAGED),
            (),
            errors.InvalidConfig,
            id="manual turns and a provider that manages them",
        ),
        pytest.param(
            {"config": RealtimeConfig(model="another")},
            open_config(),
            (),
            errors.InvalidConfig,
            id="two models",
        ),
        pytest.param(
            {"config": RealtimeConfig(temperature=0.7)},
            open_config(),
            (),
            errors.InvalidConfig,
            id="a setting that the protocol does not have",
        ),
        pytest.param(
            {},
            RealtimeSessionOpenConfig(
                PROVIDER_MANAGED, SessionLlmIdentity(model="m", provider=Provider.GEMINI)
            ),
            (),
            errors.InvalidConfig,
            id="another provider",
        ),
        pytest.param(
            {},
            open_config().with_visible_tools([ToolDef(name="weather")]),
            (weather,),
            errors.InvalidRequest,
            id="two tools of one name",
        ),
        pytest.param(
            {},
            open_config().with_seed_messages(
                [UserMessage((ImageContent("image/png", BlobRef("blob")),))]
            ),
            (),
            errors.InvalidConfig,
            id="an image without its bytes in the history",
        ),
        pytest.param(
            {"base_url": "https://api.example/v1"}, open_config(), (), errors.InvalidConfig,
            id="a URL of another scheme",
        ),
        pytest.param(
            {"base_url": "ws://user:secret@host/v1"}, open_config(), (), errors.InvalidConfig,
            id="credentials in the URL",
        ),
        pytest.param(
            {"api_key": "k\r\nX-Injected: yes"}, open_config(), (), errors.InvalidConfig,
            id="a key that no header can carry",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_work_is_refused_before_anything_is_connected(
    settings, config, tools, error, autojump_clock
) -> None:
    with pytest.raises(error) as raised:
        async with open_session(
            config,
            provider=OpenAIRealtime(**{"api_key": "k", "connector": Untouched(), **settings}),
            tools=ToolSet(tools),
        ):
            raise AssertionError
    assert "secret" not in str(raised.value)
    assert "Injected" not in str(raised.value)


def test_an_unsupported_turning_mode_is_no_mode_at_all() -> None:
    with pytest.raises(errors.InvalidConfig, match="'whenever'; allowed: provider_managed, exp"):
        open_config("whenever")
    with pytest.raises(errors.InvalidRequest, match="must not be empty"):
        RealtimeExternalSessionTarget(" \t ")


# ---------------------------------------------------------------- refused while opening


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize(
    ("code", "error", "retryable"),
    [
        ("invalid_api_key", errors.AuthenticationFailed, False),
        ("beta_api_shape_disabled", errors.InvalidRequest, False),
        ("missing_model", errors.ModelNotFound, False),
        ("invalid_model", errors.ModelNotFound, False),
        ("session_expired", errors.SessionExpired, True),
    ],
)
async def test_a_refusal_in_the_first_frame_has_its_class(
    code, error, retryable, name, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.accept()
        await peer.fail(code)

    raised = await refused(script, name=name)
    assert isinstance(raised, error)
    assert raised.retryable is retryable


@pytest.mark.parametrize("when", ["at once", "after created", "while seeding"])
@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (3000, "invalid_request_error.invalid_api_key", errors.AuthenticationFailed),
        (4000, "invalid_request_error.missing_model", errors.ModelNotFound),
        (1001, "Your session hit the maximum duration of 60 minutes.", errors.SessionExpired),
        (1011, "keepalive", errors.ServerError),
        (1013, "try later", errors.ServerOverloaded),
        (1000, "", errors.ConnectionReset),
    ],
)
async def test_a_close_during_the_handshake_says_why(
    code, reason, error, when, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.accept()
        if when != "at once":
            await peer.session_created()
            update = await peer.expect("session.update")
            if when == "while seeding":
                await peer.session_updated(update)
                await peer.expect("conversation.item.create")
        await peer.close(code, reason)

    config = open_config().with_seed_messages([UserMessage("hello")])
    assert isinstance(await refused(script, config=config), error)


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, errors.AuthenticationFailed),
        (403, errors.InvalidApiKey),
        (404, errors.ModelNotFound),
        (429, errors.RateLimited),
        (500, errors.ServerError),
        (503, errors.ServerOverloaded),
        (418, errors.InvalidRequest),
    ],
)
async def test_a_refused_upgrade_has_the_class_of_its_status(
    status, error, name, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.reject(status, "no")

    assert isinstance(await refused(script, name=name), error)


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize("step", ["request", "accepted", "created", "updated", "seeding"])
async def test_a_peer_that_vanishes_during_the_handshake_is_a_lost_connection(
    step, name, autojump_clock
) -> None:
    async def script(peer) -> None:
        await peer.wait_request()
        if step != "request":
            await peer.accept()
        if step in ("created", "updated", "seeding"):
            await peer.session_created()
            update = await peer.expect("session.update")
        if step in ("updated", "seeding"):
            await peer.session_updated(update)
            await peer.expect("conversation.item.create")
        if step == "seeding":
            await peer.cut_frame()
        else:
            await peer.socket.drop()

    config = open_config().with_seed_messages([UserMessage("hello")])
    raised = await refused(script, name=name, config=config)
    assert isinstance(raised, errors.ConnectionReset)
    assert raised.retryable


async def test_a_stream_that_cannot_be_opened_is_a_lost_connection(autojump_clock) -> None:
    async def open_stream(host, port):
        raise OSError("no route to host")

    with pytest.raises(errors.ConnectionReset, match="no route to host") as raised:
        async with open_session(
            open_config(),
            provider=OpenAIRealtime(
                api_key="k",
                base_url="ws://peer/v1?token=secret",
                connector=connector("websockets", open_stream=open_stream),
            ),
        ):
            raise AssertionError
    assert "secret" not in str(raised.value)


async def test_a_refused_configuration_names_what_is_wrong(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.accept()
        await peer.session_created()
        update = await peer.expect("session.update")
        await peer.error(
            "unknown_parameter", to=update, param="session.voice", message="Unknown parameter."
        )
        await peer.linger()

    raised = await refused(script)
    assert isinstance(raised, errors.InvalidConfig)
    assert "session.voice" in str(raised)


async def test_a_refused_history_names_the_message(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.welcome()
        await peer.expect_item()
        item = await peer.expect("conversation.item.create")
        await peer.error("invalid_value", to=item, message="too rude")
        await peer.linger()

    config = open_config().with_seed_messages([UserMessage("hello"), UserMessage("!")])
    raised = await refused(script, config=config)
    assert isinstance(raised, errors.InvalidConfig)
    assert "seed_messages[1]" in str(raised)
    assert "too rude" in str(raised)


# ---------------------------------------------------------------- opened


async def test_the_handshake_configures_seeds_and_then_yields(autojump_clock) -> None:
    async def script(peer) -> None:
        update = await peer.welcome(type="realtime", output_modalities=["audio"])
        assert peer.socket.request.path == "/v1/realtime?model=gpt-realtime"
        assert peer.socket.request.headers["Authorization"] == "Bearer k"
        assert update["session"]["audio"]["input"]["turn_detection"] is None
        assert [tool["name"] for tool in update["session"]["tools"]] == ["weather"]
        first = await peer.expect_item(role="user", content=[{"type": "input_text", "text": "hi"}])
        assert first["item"]["id"].startswith("mk_seed_")
        await peer.expect_item(role="user")
        await peer.linger()

    config = open_config(EXPLICIT).with_seed_messages([UserMessage("hi"), UserMessage("there")])
    async with (
        serving(script) as server,
        server.open(config=config, tools=[weather]) as session,
    ):
        assert session.turning_mode is RealtimeTurningMode.EXPLICIT_COMMIT
        assert set(session.capabilities.turning_modes) == set(RealtimeTurningMode)
        assert session.capabilities.interrupt_supported
        assert session.session_id == "sess_1"
        assert session.is_connected


async def test_050_what_comes_while_seeding_is_delivered_once_the_session_is_open(
    autojump_clock,
) -> None:
    """And 51: what is said about the seeds is not, nor are they anybody's predecessor."""

    async def script(peer) -> None:
        await peer.welcome()
        create = await peer.expect("conversation.item.create")
        await peer.speech_started()
        await peer.send({"type": "some.novelty", "x": 1})
        await peer.socket.send_text("not json")
        await peer.item_created(create)
        item = await peer.committed()
        await peer.transcribed(item, "hello", deltas=False)
        await peer.linger()

    config = open_config().with_seed_messages([UserMessage("before")])
    async with serving(script) as server, server.open(config=config) as session:
        read = await take(session, events.MessageCommitted)
    assert kinds(read, events.RealtimeTranscript) == [
        "InputSpeechStarted",
        "TurnStarted",
        "UnknownProviderEvent",
        "ProviderErrorReported",
        "TurnCommitted",
        "InputTranscriptFinalForItem",
        "MessageCommitted",
    ]
    assert of(read, events.InputTranscriptFinalForItem)[0].previous_item_id is None
    assert not any("mk_seed" in repr(event) for event in read)


@pytest.mark.parametrize("mode", list(RealtimeTurningMode))
@pytest.mark.parametrize("name", CONNECTORS)
async def test_054_attaching_configures_and_seeds_nothing(mode, name, autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.accept()
        assert peer.socket.request.path == "/v1/realtime?call_id=rtc_7%2F8"
        await peer.session_created()
        assert (await peer.expect_close()).code == 1000
        assert peer.frames() == []

    pair = make_wire()
    with quiescent_after():
        async with (
            serving(script, wire=pair),
            attach_external_session(
                RealtimeExternalSessionTarget("rtc_7/8"),
                mode,
                provider=provider(pair.client, name),
                tools=ToolSet([weather]),
            ) as session,
        ):
            assert session.turning_mode is mode
            assert set(session.capabilities.turning_modes) == set(RealtimeTurningMode)
            assert session.session_id == "sess_1"
            await wait_all_tasks_blocked()
    assert closing(await rest(session)).clean


async def test_attaching_in_the_middle_of_a_response_hears_the_rest_of_it(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.accept()
        await peer.session_created()
        await trio.sleep(1)
        where = {"response_id": "resp_0", "item_id": "item_0", "content_index": 0}
        await peer.send(
            {
                "type": "response.output_text.delta",
                "output_index": 0,
                "delta": "last words",
                **where,
            }
        )
        await peer.linger()

    pair = make_wire()
    async with (
        serving(script, wire=pair),
        attach_external_session(
            RealtimeExternalSessionTarget("rtc"), PROVIDER_MANAGED, provider=provider(pair.client)
        ) as session,
    ):
        read = await take(session, events.OutputTextDeltaForItem)
    assert kinds(read) == ["ResponseStarted", "OutputTextDeltaForItem"]


async def test_a_session_can_be_opened_within_another(autojump_clock) -> None:
    async with meeting(linger) as outer, meeting(linger, name="trio-websocket") as inner:
        await inner.session.aclose()
        assert outer.session.closed is None
        await outer.session.send_text("still here")
    assert outer.session.closed.clean


async def test_welcome_and_close_in_one_read_are_still_a_session(autojump_clock) -> None:
    async def script(peer) -> None:
        await peer.accept()
        await peer.session_created()
        update = await peer.expect("session.update")
        server.wire.hold()
        await peer.session_updated(update)
        await peer.text_response("Hello and goodbye.")
        await peer.close(1000, "bye")
        server.wire.release()

    async with serving(script, client_may_leave=True) as server, server.open() as session:
        read = await rest(session)
    assert of(read, events.TurnCompleted)
    assert closing(read).text == "bye"
