"""Classes with a faster `__init__` are what they were: frozen, equal, hashable, same signature."""

from __future__ import annotations

import copy
import inspect
import pickle

import attrs
import pytest

from meerkat_rt.model import events, media, transcript
from meerkat_rt.model.errors import InvalidInputShape
from meerkat_rt.model.quick import quick, unchecked
from meerkat_rt.turn import ports

QUICK = [
    events.OutputTextDeltaForItem,
    events.OutputAudioTranscriptDeltaForItem,
    events.OutputAudioChunk,
    transcript.AssistantTextDelta,
    transcript.AssistantTranscriptDelta,
    ports.AudioDelta,
    ports.OutputProgress,
]


def reference(cls: type) -> type:
    """What attrs makes of the same fields by itself."""
    fields = {
        field.name: attrs.field(default=field.default, kw_only=field.kw_only)
        for field in attrs.fields(cls)
    }
    return attrs.make_class(cls.__name__, fields, frozen=True)


def values(cls: type) -> dict[str, object]:
    return {field.name: f"{field.name}!" for field in attrs.fields(cls)}


@pytest.mark.parametrize("cls", QUICK)
def test_stays_frozen(cls: type) -> None:
    value = cls(**values(cls))
    for name in values(cls):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, name, "other")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(value, name)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.another = 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.__class__ = object
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("cls", QUICK)
def test_is_of_its_class(cls: type) -> None:
    value = cls(**values(cls))
    assert type(value) is cls
    assert attrs.asdict(value, recurse=False) == values(cls)


@pytest.mark.parametrize("cls", QUICK)
def test_equality_hash_repr_and_copies(cls: type) -> None:
    value, same = cls(**values(cls)), cls(**values(cls))
    first = next(iter(values(cls)))
    other = attrs.evolve(value, **{first: "other"})
    assert value == same
    assert hash(value) == hash(same)
    assert value != other
    assert getattr(other, first) == "other"
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
    assert repr(value).startswith(f"{cls.__name__}(")


@pytest.mark.parametrize("cls", QUICK)
def test_signature(cls: type) -> None:
    def shape(signature: inspect.Signature) -> list[tuple[str, object, object]]:
        return [(each.name, each.kind, each.default) for each in signature.parameters.values()]

    assert shape(inspect.signature(cls)) == shape(inspect.signature(reference(cls)))


@pytest.mark.parametrize("cls", QUICK)
def test_wrong_arguments(cls: type) -> None:
    good = values(cls)
    with pytest.raises(TypeError, match="unexpected keyword"):
        cls(**good, unknown=1)
    with pytest.raises(TypeError):
        cls()
    with pytest.raises(TypeError):
        cls(*good.values(), "one too many")


@pytest.mark.parametrize("cls", QUICK)
def test_unchecked_makes_the_same(cls: type) -> None:
    value = unchecked(cls)(*values(cls).values())
    assert type(value) is cls
    assert value == cls(**values(cls))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, next(iter(values(cls))), 1)


def test_a_chunk_is_labelled_with_a_valid_format_only() -> None:
    fmt = media.RealtimeAudioFormat.pcm(24000)
    chunk = media.RealtimeAudioChunk.of(b"ab", fmt)
    assert chunk == media.RealtimeAudioChunk(
        mime_type="audio/pcm", sample_rate_hz=24000, channels=1, data=b"ab"
    )
    with pytest.raises(InvalidInputShape, match="sample_rate_hz"):
        attrs.evolve(chunk, sample_rate_hz=0)


@pytest.mark.parametrize(
    "field",
    [
        attrs.field(validator=attrs.validators.gt(0)),
        attrs.field(converter=int),
        attrs.field(factory=list),
        attrs.field(init=False, default=1),
        attrs.field(alias="m"),
    ],
)
def test_refuses_what_does_more_than_assign(field: object) -> None:
    cls = attrs.make_class("V", {"n": field}, frozen=True, slots=True, weakref_slot=False)
    with pytest.raises(TypeError, match="does more in __init__"):
        quick(cls)


def test_refuses_a_hook_after_init() -> None:
    @attrs.frozen(weakref_slot=False)
    class Hooked:
        n: int

        def __attrs_post_init__(self) -> None: ...

    with pytest.raises(TypeError, match="does more in __init__"):
        quick(Hooked)


@pytest.mark.parametrize("options", [{"slots": False}, {"slots": True, "weakref_slot": True}])
def test_refuses_other_layouts(options: dict[str, bool]) -> None:
    cls = attrs.make_class("V", {"n": attrs.field()}, frozen=True, **options)
    with pytest.raises(TypeError, match="needs a slot for each field and no other"):
        quick(cls)
    with pytest.raises(TypeError, match="needs a slot for each field and no other"):
        unchecked(cls)


def test_refuses_a_base_that_would_be_passed_over_or_run() -> None:
    class Base:
        __slots__ = ()

        def __init__(self, needed: int) -> None: ...

    @attrs.frozen(weakref_slot=False)
    class Value(Base):
        n: int

    for make in (quick, unchecked):
        with pytest.raises(TypeError, match="has a base class that does something"):
            make(Value)
