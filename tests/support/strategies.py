"""Hypothesis strategies for every value of the vocabulary, derived from its fields."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from hypothesis import strategies as st

import meerkat_rt.model
from meerkat_rt.model import checks as check
from meerkat_rt.model import client_events, conversation, errors, live_config, media, open_config

# ---------------------------------------------------------------- what there is


def modules():
    """Every module of the vocabulary."""
    names = [m.name for m in pkgutil.iter_modules(meerkat_rt.model.__path__)]
    public = [name for name in names if not name.startswith("_") and name != "codec"]
    return [importlib.import_module(f"meerkat_rt.model.{name}") for name in public]


def vocabulary():
    """Every public attrs class of the vocabulary, without the errors."""
    found = [
        cls
        for module in modules()
        for cls in vars(module).values()
        if isinstance(cls, type)
        and attrs.has(cls)
        and cls.__module__ == module.__name__
        and not issubclass(cls, Exception)
        and not cls.__name__.startswith("_")
    ]
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


def error_classes():
    """Every public error of the vocabulary, without their base."""
    found = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, errors.LlmError)
        and cls is not errors.LlmError
        and not cls.__name__.startswith("_")
    ]
    return sorted(found, key=lambda cls: cls.__name__)


# ---------------------------------------------------------------- small values

texts = st.text(max_size=8)
names = st.text(min_size=1, max_size=8).filter(str.strip)
counts = st.integers(0, 2**64 - 1)
positive = st.integers(1, 2**32 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
json_objects = st.dictionaries(texts, json_values, max_size=2)


def shares(low, high):
    """Numbers of a range, its ends included."""
    return st.floats(low, high) | st.sampled_from([low, high])


_RANGES = {
    (media.RealtimeAudioFormat, "sample_rate_hz"): positive,
    (media.RealtimeAudioFormat, "channels"): positive,
    (media.RealtimeAudioChunk, "sample_rate_hz"): positive,
    (media.RealtimeAudioChunk, "channels"): positive,
    (conversation.ToolDef, "name"): names,
    (conversation.SessionLlmIdentity, "model"): names,
    (open_config.RealtimeExternalSessionTarget, "provider_session_id"): names,
    (open_config.RealtimeSessionOpenConfig, "response_nudge_timeout_ms"): st.none() | positive,
    (open_config.RealtimeSessionOpenConfig, "response_nudge_max_attempts"): (
        st.none() | st.integers(0, 255)
    ),
    (client_events.AudioDelta, "format"): st.none(),  # not in JSON
    (live_config.NoiseReduction, "strength"): st.none() | shares(0, 4),
    (live_config.RetentionRatio, "retention_ratio"): shares(0, 1),
    (live_config.TranscriptionConfig, "languages"): (
        st.none() | st.lists(names, min_size=1, max_size=2)
    ),
    (live_config.RealtimeConfig, "voice"): st.none()
    | names
    | st.builds(live_config.VoiceId, names),
    (live_config.RealtimeConfig, "temperature"): st.none() | shares(0, 2),
    (live_config.RealtimeConfig, "speed"): st.none() | shares(0.25, 1.5),
    (live_config.RealtimeConfig, "max_response_output_tokens"): (
        st.none() | positive | st.just("inf")
    ),
    (live_config.RealtimeConfig, "modalities"): (
        st.none() | st.sampled_from(media.ResponseModality).map(lambda one: [one])
    ),
    (live_config.RealtimeConfig, "interruption_detection"): (
        st.none() | st.just(live_config.InterruptionDetection.MANUAL)
    ),
}


# ---------------------------------------------------------------- by type


@cache
def of_type(as_type: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type."""
    simple = {
        str: texts,
        int: counts,
        float: floats,
        bool: st.booleans(),
        bytes: st.binary(max_size=8),
        NoneType: st.none(),
        Any: json_values,
    }
    if as_type in simple:
        return simple[as_type]
    origin, arguments = get_origin(as_type), get_args(as_type)
    if origin in (Union, UnionType):
        return st.one_of(*map(of_type, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(of_type(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(of_type(arguments[0]), of_type(arguments[1]), max_size=2)
    if isinstance(as_type, type) and issubclass(as_type, Enum):
        return st.sampled_from(as_type)
    return values(as_type)


@cache
def values(cls: type) -> st.SearchStrategy[Any]:
    """Values of a class of the vocabulary."""
    special = _SPECIAL.get(cls)
    return special() if special else st.builds(cls, **fields(cls))


def fields(cls: type) -> dict[str, st.SearchStrategy[Any]]:
    """A strategy for each argument of a class."""
    return {field.alias: _field(cls, field) for field in attrs.fields(attrs.resolve_types(cls))}


def _field(cls, field):
    if (cls, field.name) in _RANGES:
        return _RANGES[cls, field.name]
    if field.validator is check.named:
        return names if field.type is str else st.none() | names
    if field.validator is check.names:
        return st.none() | st.lists(names, max_size=2)
    return of_type(field.type)


def _vad():
    given_ms = st.none() | st.integers(0, 2**32 - 1)
    common = {name: st.none() | st.booleans() for name in ("interrupt_response", "create_response")}
    server = {
        "silence_duration_ms": given_ms,
        "prefix_padding_ms": given_ms,
        "threshold": st.none() | shares(0, 1),
        "idle_timeout_ms": st.none() | st.integers(5_000, 30_000),
    }
    eagerness = {"eagerness": st.none() | st.sampled_from(live_config.Eagerness)}
    mode = live_config.VadMode
    build = live_config.VadConfig
    return st.one_of(
        st.builds(build, mode=st.just(mode.SERVER_VAD), **common, **server),
        st.builds(build, mode=st.just(mode.SEMANTIC_VAD), **common, **eagerness),
        st.builds(build, mode=st.just(mode.NONE), **common, **server, **eagerness),
    )


def _mcp_tool():
    tunnels = st.text("abcxyz0189", min_size=32, max_size=32).map("tunnel_{}".format)
    places = {"server_url": names, "connector_id": names, "tunnel_id": tunnels}
    other = {
        name: strategy
        for name, strategy in fields(live_config.McpTool).items()
        if name not in places
    }
    return st.one_of(
        *(st.builds(live_config.McpTool, **other, **{name: places[name]}) for name in places)
    )


def _realtime_config():
    chosen = fields(live_config.RealtimeConfig)
    chosen["tools"] = st.none() | st.lists(
        of_type(live_config.ToolSpec),
        max_size=2,
        unique_by=lambda tool: getattr(tool, "name", tool.__class__),
    )
    return st.builds(live_config.RealtimeConfig, **chosen)


_SPECIAL = {
    live_config.VadConfig: _vad,
    live_config.McpTool: _mcp_tool,
    live_config.RealtimeConfig: _realtime_config,
}
