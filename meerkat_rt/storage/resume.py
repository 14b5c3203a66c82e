"""A new session that remembers: the open config that is seeded with a stored conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..model import checks as check
from ..model.errors import InvalidRequest
from ..model.open_config import RealtimeSessionOpenConfig
from ..model.turns import LeftOut, newest_turns
from .conversation import checked_session_id
from .errors import SessionNotFound, StoreNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.conversation import Message
    from ..runtime.ports import SessionStore


@attrs.frozen(kw_only=True)
class Resumption:
    """How a conversation goes on.

    `config` is what to open the new session with.  `tokens` is what its seed messages come to, and
    `left_out` what of the stored conversation is not among them.
    """

    config: RealtimeSessionOpenConfig
    tokens: int
    left_out: LeftOut


async def resume_config(
    store: SessionStore,
    session_id: str,
    base_config: RealtimeSessionOpenConfig,
    *,
    budget: int | None = None,
    count: Callable[[Message], int] | None = None,
    missing_ok: bool = False,
) -> Resumption:
    """The config that seeds a new session with a stored conversation.

    `base_config` gives everything else.  Its own seed messages come first, unless the stored
    conversation begins with them.  `budget`, in tokens, bounds all seed messages together: the
    newest turns are kept as long as they fit, each from what the user said to the end of the
    answer, and never a part of one.  What comes before the first turn, such as instructions, is
    always kept.  `count` gives the tokens of a message; without it they are estimated.
    `missing_ok`: a conversation that is not there, in a store that may not be there yet either, is
    one that begins.

    A checkpoint; cancelling has no effect.

    Raises:
        InvalidRequest: `budget` is negative, or no number of tokens, or another argument is not
            what it should be.
        SessionNotFound, StoreNotFound: there is no such conversation, without `missing_ok`.
        LlmError: the conversation cannot be read; see `SessionStore.read`.
    """
    if isinstance(store, type) or not hasattr(store, "read"):
        raise InvalidRequest(
            f"store is {check.shown(store)}; allowed: a SessionStore such as SqliteStore(path)"
        )
    checked_session_id(session_id)
    check.expect(
        base_config, RealtimeSessionOpenConfig, "base_config", "RealtimeSessionOpenConfig(...)"
    )
    if budget is not None and not (check.is_real(budget) and budget >= 0):
        raise InvalidRequest(
            f"budget is {check.shown(budget)}; allowed: a number of tokens, 0 or more; or None"
        )
    if count is not None and not callable(count):
        raise InvalidRequest(
            f"count is {check.shown(count)}; allowed: a function of a message, or None"
        )
    stored: tuple[Message, ...] = ()
    try:
        conversation = await store.read(session_id)
    except (SessionNotFound, StoreNotFound):
        if not missing_ok:
            raise
    else:
        stored = tuple(entry.message for entry in conversation.messages)
    own = base_config.seed_messages
    messages = stored if stored[: len(own)] == own else (*own, *stored)
    newest = newest_turns(messages, budget, count)
    return Resumption(
        config=base_config.with_seed_messages(newest.messages),
        tokens=newest.tokens,
        left_out=newest.left_out,
    )
