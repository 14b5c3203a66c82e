"""Frames that are nearly right: any JSON, and one value of a sound frame put wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

Path = tuple[Any, ...]


def json_values(
    samples: Sequence[object], *, keys: st.SearchStrategy[str] | None = None, leaves: int = 8
) -> st.SearchStrategy[Any]:
    """Any JSON value, with `samples` of those that mean something; `keys` are those of objects."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.sampled_from(samples)
    )
    names = st.text(max_size=8) if keys is None else keys
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=leaves,
    )


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value in a parsed frame, its own, which is empty, first."""
    yield path
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, entry in entries:
        yield from paths(entry, (*path, key))


def replaced(value: Any, path: Path, new: object) -> Any:
    """The frame with another value at this place."""
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


def removed(value: Any, path: Path) -> Any:
    """The frame without the value at this place."""
    changed = copy.copy(value)
    if len(path) == 1:
        del changed[path[0]]
    else:
        changed[path[0]] = removed(value[path[0]], path[1:])
    return changed


@st.composite
def mutants(draw: st.DrawFn, valid: Sequence[Any], values: st.SearchStrategy[Any]) -> Any:
    """A valid frame with one value replaced, removed, or put where it does not belong."""
    frame = copy.deepcopy(draw(st.sampled_from(valid)))
    *parents, last = draw(st.sampled_from(list(paths(frame))[1:]))
    node = frame
    for key in parents:
        node = node[key]
    match draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            node[last] = draw(values)
        case "remove":
            del node[last]
        case _ if isinstance(node, dict):
            node[draw(st.text(max_size=8))] = draw(values)
        case _:
            node.append(draw(values))
    return frame


def gemini_messages(audio: str, end: str = "") -> st.SearchStrategy[dict]:
    """Messages of a Gemini server, in any combination: `audio` in base64; words end in `end`."""
    blob = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": audio}}
    return st.fixed_dictionaries(
        {},
        optional={
            "serverContent": st.fixed_dictionaries(
                {},
                optional={
                    "modelTurn": st.sampled_from(
                        [{"parts": [blob]}, {"parts": [{"text": f"t{end}"}]}]
                    ),
                    "inputTranscription": st.sampled_from(
                        [{"text": f"u{end}"}, {"finished": True}]
                    ),
                    "outputTranscription": st.just({"text": f"m{end}"}),
                    "interrupted": st.just(True),
                    "generationComplete": st.just(True),
                    "turnComplete": st.just(True),
                    "interactionStatus": st.sampled_from(["IDLE", "IN_PROGRESS"]),
                },
            ),
            "toolCall": st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3).map(
                lambda ids: {"functionCalls": [{"id": i, "name": "f", "args": {}} for i in ids]}
            ),
            "toolCallCancellation": st.just({"ids": ["a", "c"]}),
            "usageMetadata": st.integers(0, 50).map(lambda n: {"promptTokenCount": n}),
            "voiceActivity": st.sampled_from(
                [{"type": "ACTIVITY_START"}, {"type": "ACTIVITY_END"}]
            ),
        },
    )
