"""How one session talks, and what it therefore cannot say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ...model.errors import InvalidRequest
from ...turn import ports
from . import encoding
from .generations import Generation
from .seeding import contents_of
from .session_setup import Settings
from .tools_json import Scheduling, ToolBehavior

if TYPE_CHECKING:
    from ...turn.ports import ProviderCommand


@attrs.frozen(kw_only=True)
class Manner:
    """How one session talks: what its codec has to know of the configuration."""

    settings: Settings
    generation: Generation
    input_rate: int
    behavior: ToolBehavior | None
    scheduling: Scheduling
    counts: bool = False  # the provider tells which of our messages a resumable state includes


def check(command: ProviderCommand, manner: Manner) -> None:
    """Refuse what a codec could not encode, as far as that does not depend on the conversation.

    Raises:
        InvalidRequest: this protocol, model or mode has no such thing.
    """
    encoding.check_possible(command)
    match command:
        case ports.CreateItem():
            check_item(command, manner)
        case ports.CreateResponse(options=options):
            encoding.check_options(options, manner.settings.modality)
            if not manner.generation.text_all_session and not manner.settings.manual:
                check_response(manner)
        case ports.SendRaw(payload=payload):
            check_raw(encoding.raw(payload), manner)
        case _:
            pass


def check_item(command: ports.CreateItem, manner: Manner) -> None:
    """Text without an answer needs a model that takes it at any time."""
    if manner.generation.text_all_session:
        return
    if not command.turn:
        raise InvalidRequest(
            f"{manner.generation.name} answers every text; allowed: text as a turn (send_input)"
        )
    parts = [part for turn in contents_of(command.message) for part in turn["parts"]]
    if any("text" not in part for part in parts):
        raise InvalidRequest(f"{manner.generation.name} takes text only during a session")


def check_response(manner: Manner) -> None:
    """A response has to be asked for by a message, and the model may have none for that."""
    raise InvalidRequest(
        f"{manner.generation.name} answers the user's turns and nothing else; send one"
    )


def check_raw(message: encoding.Raw, manner: Manner) -> None:
    """Activity is the application's to tell, or the provider's to hear, never both."""
    if message.key == "toolResponse":
        raise InvalidRequest("tool calls are answered by submit_tool_result, once each")
    if message.key != "realtimeInput":
        return
    told = [name for name in ("activityStart", "activityEnd") if name in message.body]
    if told and not manner.settings.manual:
        raise InvalidRequest(
            f"{told[0]}: the provider listens for speech in this session; activity is told in "
            "sessions with the turning mode explicit_commit"
        )
    if "audioStreamEnd" in message.body and manner.settings.manual:
        raise InvalidRequest(
            "audioStreamEnd: this session's turns end with activityEnd (commit_turn)"
        )
