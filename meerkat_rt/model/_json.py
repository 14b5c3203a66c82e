"""How one field departs from the rule that JSON has every field under its own name.

The rule's other half needs no mark: an optional field (`X | None`) is left out when it is None.
"""

from __future__ import annotations

from typing import Any, Final

NAME: Final = "meerkat_rt.json_name"
OMIT_DEFAULT: Final = "meerkat_rt.json_omit_default"
ABSENT: Final = "meerkat_rt.json_absent"


def json_field(
    *, name: str | None = None, omit_default: bool = False, absent: bool = False
) -> dict[str, Any]:
    """Metadata of an attrs field.

    `name`: its key in JSON.  `omit_default`: left out when it has its default value.  `absent`: it
    serves the process only, and is in no JSON form.
    """
    return {NAME: name, OMIT_DEFAULT: omit_default, ABSENT: absent}
