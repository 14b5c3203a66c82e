"""The oracle must reject what it should: a check that passes everything would hide every defect."""

from __future__ import annotations

import copy

import pytest
from support.gemini_oracle import check, problems

SETUP = {
    "setup": {
        "model": "models/x",
        "generationConfig": {"responseModalities": ["AUDIO"], "temperature": 1},
        "systemInstruction": {"parts": [{"text": "x"}]},
        "realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}},
        "tools": [{"functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]}],
        "sessionResumption": {"handle": "h"},
    }
}
AUDIO = {"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": "AAA="}}}
ANSWER = {"toolResponse": {"functionResponses": [{"id": "a", "name": "f", "response": {"x": 1}}]}}
CONTENT = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "x"}]}]}}
SERVER = {
    "serverContent": {"turnComplete": True, "modelTurn": {"parts": [{"text": "x"}]}},
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1},
    "voiceActivity": {"type": "ACTIVITY_START", "audioOffset": "1.5s"},
    "sessionResumptionUpdate": {"lastConsumedClientMessageIndex": "12"},
}


@pytest.mark.parametrize("message", [SETUP, AUDIO, ANSWER, CONTENT])
def test_good_client_messages_pass(message):
    check(message, "client")


def test_good_server_messages_pass():
    check(SERVER, "server")


def changed(message, path, value):
    out = copy.deepcopy(message)
    *parents, last = path.split(".")
    node = out
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    node[last] = value
    return out


BAD = [
    ("client", {}, "one key"),
    ("client", [], "object"),
    ("client", {**AUDIO, **ANSWER}, "one key"),
    ("client", {"realtimeInput": {}}, "one field"),
    ("client", {"realtimeInput": {"text": "x", "audioStreamEnd": True}}, "one field"),
    ("client", {"setup": {}}, "required"),
    ("client", {"client_content": {}}, "no such field"),
    ("client", changed(SETUP, "setup.systemInstruction", "x"), "expected Content"),
    ("client", changed(SETUP, "setup.tools", {}), "array"),
    ("client", changed(SETUP, "setup.turnDetection", {}), "no such field"),
    ("client", changed(SETUP, "setup.generationConfig.responseModalities", ["SOUND"]), "Modality"),
    ("client", changed(SETUP, "setup.generationConfig.temperature", "1"), "float"),
    (
        "client",
        changed(SETUP, "setup.realtimeInputConfig.automaticActivityDetection.disabled", 1),
        "bool",
    ),
    ("client", changed(AUDIO, "realtimeInput.audio.data", "!!"), "base64"),
    ("client", changed(AUDIO, "realtimeInput.audio.mime_type", "x"), "no such field"),
    ("client", changed(ANSWER, "toolResponse.functionResponses.0.response", "x"), "object"),
    ("client", changed(ANSWER, "toolResponse.functionResponses.0.scheduling", "NOW"), "NOW"),
    ("client", changed(CONTENT, "clientContent.turnComplete", None), "null"),
    ("server", changed(SERVER, "serverContent.turnComplete", "yes"), "bool"),
    ("server", changed(SERVER, "voiceActivity.voiceActivityType", "ACTIVITY_END"), "no such field"),
    ("server", changed(SERVER, "voiceActivity.audioOffset", "1.5"), "duration"),
    ("server", changed(SERVER, "goAway", {"timeLeft": 10}), "duration"),
    (
        "server",
        changed(SERVER, "sessionResumptionUpdate.lastConsumedClientMessageIndex", "x"),
        "integer",
    ),
    ("server", changed(SERVER, "usageMetadata.tokens", 1), "no such field"),
]


@pytest.mark.parametrize(("side", "message", "about"), BAD)
def test_bad_messages_are_rejected_and_the_fault_is_named(side, message, about):
    found = problems(message, side)
    assert found
    assert about in " ".join(found)
