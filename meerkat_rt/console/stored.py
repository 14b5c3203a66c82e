"""`transcript`: stored conversations, listed and printed.  And how `talk` goes on with one."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import trio

from meerkat_rt import Conversation
from meerkat_rt.runtime.errors import LlmError
from meerkat_rt.storage import (
    SqliteStore,
    conversation_to_json,
    conversation_to_markdown,
    conversation_to_text,
    resume_config,
    sessions_to_json,
    sessions_to_text,
)
from meerkat_rt.storage.errors import StoreUnavailable

from .output import say

if TYPE_CHECKING:
    from meerkat_rt import RealtimeSessionOpenConfig


def store_at(path: Path) -> SqliteStore:
    """The store in a file, which notes when conversations were written."""
    return SqliteStore(path, wall_clock=lambda: datetime.datetime.now(datetime.UTC).timestamp())


async def going_on(
    path: Path, config: RealtimeSessionOpenConfig
) -> tuple[Conversation, RealtimeSessionOpenConfig, int]:
    """The newest conversation of the store, or a new one; how to open it; how much it remembers.

    Raises:
        LlmError: the store cannot be read.
    """
    store = store_at(path)
    sessions = await store.sessions() if await trio.to_thread.run_sync(_exists, path) else ()
    if not sessions:
        return Conversation(store=store), config, 0
    newest = max(sessions, key=lambda session: session.updated_at or 0.0)
    resumption = await resume_config(store, newest.session_id, config)
    return Conversation(store=store, id=newest.session_id), resumption.config, newest.messages


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("session", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to print a conversation.",
)
def transcript(file: Path, session: str | None, form: str) -> None:
    """List the conversations stored in FILE, or print the one called SESSION."""
    try:
        if not _exists(file):
            click.echo(f"There is no file {str(file)!r}.", err=True)
            raise SystemExit(2)
        say(trio.run(_printed, file, session, form), nl=False)
    except LlmError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        raise SystemExit(2) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # it cannot even be asked: a name that is too long, a closed folder
        raise StoreUnavailable(message=error.strerror or str(error), path=str(path)) from error


async def _printed(file: Path, session: str | None, form: str) -> str:
    store = store_at(file)
    if session is None:
        sessions = await store.sessions()
        return _json(sessions_to_json(sessions)) if form == "json" else sessions_to_text(sessions)
    conversation = await store.read(session)
    if form == "json":
        return _json(conversation_to_json(conversation))
    return {"text": conversation_to_text, "markdown": conversation_to_markdown}[form](conversation)


def _json(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    # Half a surrogate pair can be stored and cannot be printed; JSON has an escape for it.
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
