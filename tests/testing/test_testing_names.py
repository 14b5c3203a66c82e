"""The public names of the kit: each says what it is, and none is there by accident."""

from __future__ import annotations

import inspect

import meerkat_rt.testing

MODULES = {
    *(
        "clock",
        "descriptors",
        "everywhere",
        "failures",
        "faults",
        "long_call",
        "on_wires",
        "openai_frames",
        "openai_response",
    ),
    *(
        "parity",
        "places",
        "plugin",
        "probe",
        "quiescence",
        "recipe",
        "run",
        "scheduler",
        "scripted_peer",
    ),
    *("scenarios", "shrinking", "sweep", "targets", "threads", "trial", "websocket_peer", "wires"),
}
CONSTANTS = {"FAULTS", "WIRES", "Scenario", "Verify", "WireName"}
NAMES = {
    name
    for name in vars(meerkat_rt.testing)
    # pytest writes names with an @ into what it has loaded as a plugin.
    if not name.startswith(("_", "@")) and name not in MODULES and name != "annotations"
}


def test_the_names_are_these():
    expected = {
        *("ActionSweep", "CancellationFailed", "Case", "ClientGone", "CloseFrame", "Exploration"),
        *(
            "ExplorationFailed",
            "Failure",
            "GeminiPeer",
            "HarnessError",
            "InjectedError",
            "Leak",
            "Faults",
            "MessageInPlay",
        ),
        *("NotQuiescent", "OpenAIPeer", "Place", "QuiescenceBaseline", "Received", "Recipe"),
        *("Report", "ResponseInPlay", "RunResult", "Schedule", "ScriptError", "ScriptMismatch"),
        *("ScriptTimeout", "ScriptUnfinished", "ScriptedPeer", "StallWatch", "Trial"),
        *("UnsupportedTrio", "WebSocketPeer", "Wire", "WireStream", "assert_quiescent"),
        *("cancel_everywhere", "explore", "explore_nearby", "gemini_peer", "make_wire"),
        *("gemini_on", "openai_on", "openai_peer"),
        *("own_order", "played", "quiescence_baseline", "quiescent_after", "replay"),
        *("selfcheck", "virtual_clock"),
    }
    found = NAMES - CONSTANTS
    assert found == expected


def test_each_says_what_it_is_and_so_do_its_public_methods():
    silent = []
    for name in NAMES - CONSTANTS:
        thing = getattr(meerkat_rt.testing, name)
        if not inspect.getdoc(thing):
            silent.append(name)
        if inspect.isclass(thing):
            silent += [
                f"{name}.{method}"
                for method, function in vars(thing).items()
                if inspect.isfunction(function)
                and not method.startswith("_")
                and not function.__doc__
            ]
    assert silent == []
