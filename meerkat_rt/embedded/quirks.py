"""Things that real servers do now and then, and that a client has to bear."""

from __future__ import annotations

from typing import Literal

import attrs

from ..model import checks as check


@attrs.frozen(kw_only=True)
class Quirks:
    """Switches that make the server harder to talk to; all are off unless turned on.

    The first group was seen on the wire or is allowed by the protocol; the second is what a client
    must survive.
    """

    obfuscation: bool = attrs.field(default=False, validator=check.flag)
    """Delta events carry a padding string named `obfuscation`."""
    conversation_created: bool = attrs.field(default=False, validator=check.flag)
    """`conversation.created` follows `session.created`."""
    swapped_done_order: bool = attrs.field(default=False, validator=check.flag)
    """`response.output_item.done` comes before `conversation.item.done`."""
    null_error_event_id: bool = attrs.field(default=False, validator=check.flag)
    """Errors never say which client event caused them."""
    transcription: Literal["free", "before", "after"] = attrs.field(default="free")
    """Whether a turn's transcription comes when it is ready, or before or after its response."""
    odd_audio_deltas: bool = attrs.field(default=False, validator=check.flag)
    """Audio deltas have an odd number of bytes, so samples are cut in half between them."""
    urlsafe_base64: bool = attrs.field(default=False, validator=check.flag)
    """Gemini: audio comes in the other alphabet of base64."""
    thoughts: bool = attrs.field(default=False, validator=check.flag)
    """Gemini: a part of thinking, in text, stands before each answer."""

    unknown_events: bool = attrs.field(default=False, validator=check.flag)
    """Event types from the future appear between the known ones."""
    unknown_fields: bool = attrs.field(default=False, validator=check.flag)
    """Every event has a field that nobody knows."""
    done_without_created: bool = attrs.field(default=False, validator=check.flag)
    """`response.done` comes without a `response.created` before it."""
    close_without_error: bool = attrs.field(default=False, validator=check.flag)
    """The connection is closed with its code, but without the error event that says why."""
    drop_after_events: int | None = attrs.field(
        default=None, validator=check.whole(1, optional=True)
    )
    """The TCP connection breaks after so many events (1 or more), with no close frame."""

    @transcription.validator
    def _check_transcription(self, attribute: attrs.Attribute[str], value: object) -> None:
        if value not in ("free", "before", "after"):
            check.refuse(self, attribute.name, value, "free, before, after")
