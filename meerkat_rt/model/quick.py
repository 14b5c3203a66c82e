"""Faster construction for the few classes of which a session makes thousands a second.

attrs fills a frozen instance through `object.__setattr__`, a call a field, which costs three times
what plain assignment does.  `quick` replaces `__init__` by one that assigns: for as long as it
runs, the new instance, which nobody else has seen yet, is of an open twin of its class, with the
same slots and without the `__setattr__` that refuses.  From then on it is frozen like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C", bound=type)
T = TypeVar("T")


def quick(cls: C) -> C:
    """Give a frozen attrs class without validators and converters a faster `__init__`.

    Signature, defaults and everything else stay as they are.  The class has slots, and none for
    weak references: with one, Python does not see that the twin has the same layout.  Its base
    classes have no `__init__` of their own.

    Raises:
        TypeError: the class is not of that kind.
    """
    fields = attrs.fields(cls)
    if hasattr(cls, "__attrs_post_init__") or not all(map(_is_plain, fields)):
        raise TypeError(f"{cls.__name__} does more in __init__ than assign")
    scope = _scope(cls)
    parameters = ["self"]
    for field in fields:
        if field.kw_only and "*" not in parameters:
            parameters.append("*")
        parameters.append(field.name)
        if field.default is not attrs.NOTHING:
            scope[f"default_{field.name}"] = field.default
            parameters[-1] += f"=default_{field.name}"
    assign = [f"self.{field.name} = {field.name}" for field in fields]
    made = _function(
        "__init__", parameters, ["become(self, twin)", *assign, "self.__class__ = cls"], scope
    )
    slow = cls.__dict__["__init__"]
    made.__annotations__ = slow.__annotations__
    made.__qualname__ = slow.__qualname__
    made.__module__ = cls.__module__
    type.__setattr__(cls, "__init__", made)
    return cls


def unchecked(cls: type[T]) -> Callable[..., T]:
    """A constructor of `cls` that takes all fields in order and runs no validator.

    For values that have been validated before.  The class is as for `quick`, but may validate.

    Raises:
        TypeError: the class is not of that kind.
    """
    names = [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]
    assign = [f"self.{name} = {name}" for name in names]
    body = ["self = twin()", *assign, "self.__class__ = cls", "return self"]
    made: Callable[..., T] = _function(f"new_{cls.__name__}", names, body, _scope(cls))
    return made


def _scope(cls: type) -> dict[str, Any]:
    slots = cls.__dict__.get("__slots__")
    if slots is None or set(slots) != {field.name for field in attrs.fields(cls)}:
        raise TypeError(f"{cls.__name__} needs a slot for each field and no other")
    twin: Any = type(f"_Open{cls.__name__}", cls.__bases__, {"__slots__": slots})
    if (twin.__init__, twin.__new__) != (object.__init__, object.__new__):
        raise TypeError(f"{cls.__name__} has a base class that does something when it is made")
    return {
        "cls": cls,
        "twin": twin,
        "become": object.__dict__["__class__"].__set__,
    }


def _function(name: str, parameters: list[str], body: list[str], scope: dict[str, Any]) -> Any:
    exec("\n    ".join([f"def {name}({', '.join(parameters)}):", *body]), scope)
    return scope[name]


def _is_plain(field: attrs.Attribute[Any]) -> bool:
    default: object = field.default
    return (
        field.init
        and field.validator is None
        and field.converter is None
        and field.alias == field.name
        and type(default).__name__ != "Factory"
    )
