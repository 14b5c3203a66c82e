"""Things that real servers do now and then, and that a client has to bear."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs import validators


@attrs.frozen(kw_only=True)
class Quirks:
    """Switches that make the server harder to talk to; all are off unless turned on.

    The first group was seen on the wire or is allowed by the protocol; the second is what a client
    must survive.
    """

    obfuscation: bool = False
    """Delta events carry a padding string named `obfuscation`."""
    conversation_created: bool = False
    """`conversation.created` follows `session.created`."""
    swapped_done_order: bool = False
    """`response.output_item.done` comes before `conversation.item.done`."""
    null_error_event_id: bool = False
    """Errors never say which client event caused them."""
    transcription: Literal["free", "before", "after"] = "free"
    """Whether a turn's transcription comes when it is ready, or before or after its response."""
    odd_audio_deltas: bool = False
    """Audio deltas have an odd number of bytes, so samples are cut in half between them."""
    urlsafe_base64: bool = False
    """Gemini: audio comes in the other alphabet of base64."""
    thoughts: bool = False
    """Gemini: a part of thinking, in text, stands before each answer."""

    unknown_events: bool = False
    """Event types from the future appear between the known ones."""
    unknown_fields: bool = False
    """Every event has a field that nobody knows."""
    done_without_created: bool = False
    """`response.done` comes without a `response.created` before it."""
    close_without_error: bool = False
    """The connection is closed with its code, but without the error event that says why."""
    drop_after_events: int | None = attrs.field(
        default=None, validator=validators.optional(validators.ge(1))
    )
    """The TCP connection breaks after so many events (1 or more), with no close frame."""
