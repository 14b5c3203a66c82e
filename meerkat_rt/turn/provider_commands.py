"""What the machine asks of a dialect, which encodes it at the moment of writing.

`ref` identifies a command to the provider (OpenAI: `event_id`), so that its errors can be tied to
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from ..model.conversation import JSON, Message
from ..model.media import ResponseModality
from .provider_events import shown_size


@attrs.frozen
class AppendAudio:
    """Input audio in the negotiated input format.  The only command of the media lane."""

    data: bytes = attrs.field(repr=shown_size)


@attrs.frozen(kw_only=True)
class CommitAudio:
    """Make the buffered input audio a user item."""

    ref: str


@attrs.frozen(kw_only=True)
class ClearAudio:
    """Drop the buffered input audio."""

    ref: str


@attrs.frozen(kw_only=True)
class CreateItem:
    """Add a message under an id of ours.  A message that has no item form encodes to nothing.

    `turn`: the message is a turn of the user's, and a response to it will be requested.
    """

    ref: str
    item_id: str
    message: Message
    previous_item_id: str | None = None
    turn: bool = False


@attrs.frozen(kw_only=True)
class SendToolOutput:
    """Answer a tool call.  `output` is text; `is_error` where the protocol can say so.

    `name` is the tool's; `wants_response` tells a provider without explicit responses whether the
    model should speak about it.
    """

    ref: str
    call_id: str
    name: str
    output: str
    is_error: bool = False
    wants_response: bool = True


@attrs.frozen(kw_only=True)
class ResponseOptions:
    """What one response should be, where it differs from the session.

    `modality` None: the session's.  `in_conversation` False: out-of-band.  `input` replaces the
    context (provider's item JSON).  `tool_choice`: auto, none, required, or a tool's name.
    """

    modality: ResponseModality | None = None
    instructions: str | None = None
    tools: tuple[Mapping[str, JSON], ...] | None = None
    tool_choice: str | None = None
    max_output_tokens: int | None = None
    metadata: Mapping[str, str] | None = None
    in_conversation: bool = True
    input: tuple[Mapping[str, JSON], ...] | None = None
    extra: Mapping[str, JSON] | None = None


@attrs.frozen(kw_only=True)
class CreateResponse:
    """Ask for one response.  `ref` is echoed in its `ResponseBegan` where the provider can."""

    ref: str
    options: ResponseOptions = ResponseOptions()


@attrs.frozen(kw_only=True)
class CancelResponse:
    """Stop a response; `response_id` None: whatever is active."""

    ref: str
    response_id: str | None = None


@attrs.frozen(kw_only=True)
class TruncateItem:
    """Cut a spoken item to its first `audio_end_ms` milliseconds."""

    ref: str
    item_id: str
    content_index: int
    audio_end_ms: int


@attrs.frozen(kw_only=True)
class DeleteItem:
    """Remove an item from the conversation."""

    ref: str
    item_id: str


@attrs.frozen(kw_only=True)
class UpdateSession:
    """Change the configuration; `projection` is opaque to the machine and known to the dialect."""

    ref: str
    projection: object


@attrs.frozen(kw_only=True)
class SendRaw:
    """A client event of the application's own, sent as it is."""

    ref: str
    payload: Mapping[str, JSON]


ProviderCommand: TypeAlias = (
    AppendAudio
    | CommitAudio
    | ClearAudio
    | CreateItem
    | SendToolOutput
    | CreateResponse
    | CancelResponse
    | TruncateItem
    | DeleteItem
    | UpdateSession
    | SendRaw
)
