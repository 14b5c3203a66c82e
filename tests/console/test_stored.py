"""Stored conversations on the command line, in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio
from click.testing import CliRunner

from meerkat_rt.console.stored import going_on, store_at, transcript
from meerkat_rt.model.conversation import SessionLlmIdentity, UserMessage
from meerkat_rt.model.media import RealtimeTurningMode
from meerkat_rt.model.open_config import RealtimeSessionOpenConfig
from meerkat_rt.runtime.ports import StoredConversation, StoredMessage
from meerkat_rt.storage import conversation_from_json

if TYPE_CHECKING:
    from pathlib import Path


def printed(*arguments: object) -> str:
    result = CliRunner().invoke(transcript, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_half_a_surrogate_pair_is_escaped_in_json_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    said = UserMessage("cut \ud83d, whole \N{GRINNING FACE}")
    trio.run(
        store_at(path).adopt,
        StoredConversation(session_id="s", messages=[StoredMessage(said)]),
    )
    text = printed(path, "s", "--format", "json")
    assert r"cut \ud83d, whole " + "\N{GRINNING FACE}" in text
    assert conversation_from_json(json.loads(text)).messages == (StoredMessage(said),)


def test_a_file_that_is_still_empty_has_no_conversations(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.touch()
    assert printed(path) == ""
    assert json.loads(printed(path, "--format", "json")) == []


async def test_talking_begins_a_conversation_in_a_file_that_is_still_empty(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.touch()
    config = RealtimeSessionOpenConfig(
        RealtimeTurningMode.PROVIDER_MANAGED, SessionLlmIdentity(model="some-model")
    )
    conversation, opened, remembered = await going_on(path, config)
    assert (conversation.id, opened, remembered) == (None, config, 0)
