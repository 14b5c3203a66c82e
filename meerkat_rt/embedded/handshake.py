"""Who may connect to the OpenAI side, and to what: decided from the upgrade request alone.

Source: the Realtime service, whose upgrade always succeeds; what is wrong with a request comes as
the first frame and in the close frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .doors import Refusal
from .settings import SessionKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .doors import AccessPolicy, Upgrade


PATHS = frozenset({"/v1/realtime", "/openai/v1/realtime"})  # the second is how Azure spells it
SUBPROTOCOL = "realtime"
_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_BETA_SUBPROTOCOL = "openai-beta."


@attrs.frozen(kw_only=True)
class Admission:
    """What a connection is to become; `refusal` is set when it is to be closed instead."""

    kind: SessionKind = "realtime"
    model: str = ""
    subprotocol: str | None = None
    refusal: Refusal | None = None


def admit(upgrade: Upgrade, policy: AccessPolicy) -> Admission | None:
    """Decide about an upgrade request; None where there is nothing at that path (HTTP 404)."""
    if upgrade.path.rstrip("/") not in PATHS:
        return None
    offered = list(upgrade.subprotocols)
    chosen = SUBPROTOCOL if SUBPROTOCOL in offered else None
    headers = upgrade.headers
    refusal = _refuse_credentials(headers, offered, policy) or _refuse_beta(headers, offered)
    if refusal is not None:
        return Admission(subprotocol=chosen, refusal=refusal)
    return attrs.evolve(_session(upgrade.query, policy), subprotocol=chosen)


def _refuse_credentials(
    headers: Mapping[str, str], subprotocols: list[str], policy: AccessPolicy
) -> Refusal | None:
    shown = [
        name[len(_KEY_SUBPROTOCOL) :] for name in subprotocols if name.startswith(_KEY_SUBPROTOCOL)
    ]
    shown += [headers[name] for name in ("api-key",) if name in headers]
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        shown.append(bearer.strip())
    if policy.accepts(shown):
        return None
    return Refusal(
        code="invalid_api_key",
        message="Incorrect API key provided." if shown else "You didn't provide an API key.",
        close_code=3000,
    )


def _refuse_beta(headers: Mapping[str, str], subprotocols: list[str]) -> Refusal | None:
    asks = "realtime=" in headers.get("openai-beta", "").replace(" ", "")
    if not asks and not any(name.startswith(_BETA_SUBPROTOCOL) for name in subprotocols):
        return None
    return Refusal(
        code="beta_api_shape_disabled",
        message="The Realtime Beta API is no longer supported. Please use the GA API.",
        close_code=4000,
    )


def _session(query: Mapping[str, str], policy: AccessPolicy) -> Admission:
    model, call_id = query.get("model", ""), query.get("call_id", "")
    if call_id:
        return _attached(call_id, model, policy)
    if query.get("intent") == "transcription":
        return Admission(kind="transcription", model=model)
    if not model:
        return _refused("missing_model", "You must provide a model parameter.")
    if policy.models is not None and model not in policy.models:
        return _refused("invalid_model", f"The model '{model[:80]}' does not exist.")
    return Admission(model=model)


def _attached(call_id: str, model: str, policy: AccessPolicy) -> Admission:
    if model:
        return _refused("invalid_value", "Provide either a model or a call_id, not both.")
    if call_id not in policy.calls:
        return _refused("invalid_value", f"There is no call with id '{call_id[:80]}'.")
    return Admission(model=policy.calls[call_id])


def _refused(code: str, message: str) -> Admission:
    return Admission(refusal=Refusal(code=code, message=message, close_code=4000))


def too_many_connections(admission: Admission) -> Admission:
    """The same connection, turned away because the server is full."""
    refusal = Refusal(
        code="rate_limit_exceeded",
        message="The server has as many sessions as it can hold. Try again later.",
        close_code=1013,
        kind="rate_limit_error",
    )
    return attrs.evolve(admission, refusal=refusal)
