"""How one field departs from the rule that JSON has every field under its own name.

The rule's other half needs no mark: an optional field (`X | None`) is left out when it is None.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

_KEY: Final = "meerkat_rt.json"


@attrs.frozen(kw_only=True)
class JsonField:
    """The marks of one field.

    `name`: its key in JSON.  `omit_default`: left out when it has its default value.  `absent`: it
    serves the process only, and is in no JSON form.  `flatten`: the keys of its object stand beside
    the other fields, its tag under the field's name.  `plain_text`: one block of text is written as
    a string.  `null`: what an explicit null stands for.
    """

    name: str | None = None
    omit_default: bool = False
    absent: bool = False
    flatten: bool = False
    plain_text: bool = False
    null: Any = None


_UNMARKED: Final = JsonField()


def json_field(**marks: Any) -> dict[str, Any]:
    """Metadata for `attrs.field`: the given marks of a `JsonField`."""
    return {_KEY: JsonField(**marks)}


def marks_of(field: attrs.Attribute[Any]) -> JsonField:
    """The marks of a field."""
    marks: JsonField = field.metadata.get(_KEY, _UNMARKED)
    return marks
