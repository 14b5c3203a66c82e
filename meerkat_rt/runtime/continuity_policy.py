"""What is asked for of a session that is to outlive its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..model import checks as check
from ..model.conversation import SessionLlmIdentity
from ..model.errors import InvalidConfig
from .origin import Origin, Redialable, check_same_audio

if TYPE_CHECKING:
    import random

    from ..model.open_config import RealtimeSessionOpenConfig
    from ..turn.effects import MachineSettings
    from .limits import SessionLimits
    from .tools import ToolSet

_MAX_DOUBLINGS = 20  # of the delay between attempts; past that it would overflow, not grow


@attrs.frozen(kw_only=True)
class Failover:
    """Where the conversation goes on when its own provider cannot be reached any more.

    `llm_identity` names the model there; None: the open config's.  The conversation is told anew
    from its canonical transcript.  Both providers must take and give the same audio.
    """

    provider: Redialable = attrs.field(
        validator=check.has(
            "dialect",
            "settings",
            what="OpenAIRealtime(...), GeminiLive(...), or another Redialable",
        )
    )
    llm_identity: SessionLlmIdentity | None = attrs.field(
        default=None,
        validator=check.is_a(SessionLlmIdentity, what="SessionLlmIdentity(model=...) or None"),
    )


@attrs.frozen(kw_only=True)
class ContinuityPolicy:
    """How a session outlives what ends its connection.  Times are in seconds.

    A lost connection is replaced, by at most `max_attempts` attempts within `max_total` (0: no
    bound), before each of which a random time passes of at most
    `min(max_backoff, initial_backoff * 2 ** (attempt - 1))`: full jitter, reproducible with `seed`,
    or where there is none with the provider's.
    Where that would leave no time for any attempt, one is made at once.
    Attempts are counted anew once a connection has lasted for `steady`.  `max_attempts=0`: a lost
    connection ends the session.

    A connection whose provider will end it is replaced before: from `rotation_margin` before the
    cap on at the first boundary between two turns, and `last_call` before it in any case; the cap
    is the provider's, or `max_age`.  `rotate=False`: only when the provider announces the end.

    A session that starts anew is told what was said in this one: the newest whole turns that come
    to no more than `budget` tokens, estimated by their length (None: all of it).

    `failover` is where to go on when all attempts have failed.

    Raises:
        InvalidConfig: a value is not allowed; the message names the field, it, and what is.
    """

    max_attempts: int = attrs.field(default=3, validator=check.whole(0))
    initial_backoff: float = attrs.field(default=0.5, validator=check.seconds())
    max_backoff: float = attrs.field(default=5.0, validator=check.seconds())
    max_total: float = attrs.field(default=30.0, validator=check.seconds(zero=True))
    steady: float = attrs.field(default=10.0, validator=check.seconds(zero=True))
    rotate: bool = attrs.field(default=True, validator=check.flag)
    rotation_margin: float = attrs.field(default=60.0, validator=check.seconds())
    last_call: float = attrs.field(default=10.0, validator=check.seconds())
    max_age: float | None = attrs.field(default=None, validator=check.seconds(optional=True))
    budget: int | None = attrs.field(default=None, validator=check.whole(0, optional=True))
    failover: Failover | None = attrs.field(
        default=None, validator=check.is_a(Failover, what="Failover(provider=...) or None")
    )
    seed: int | None = None

    @max_backoff.validator
    def _not_less_than_the_first(self, _attribute: object, value: float) -> None:
        if value < self.initial_backoff:
            raise InvalidConfig(
                f"max_backoff is {value:g} s; allowed: initial_backoff "
                f"({self.initial_backoff:g} s) or more"
            )

    def delay(self, attempt: int, rng: random.Random) -> float:
        """How long to wait before the `attempt`-th attempt (from 1)."""
        most = self.initial_backoff * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)
        return rng.uniform(0.0, min(self.max_backoff, most))


def checked(
    policy: ContinuityPolicy | None,
    config: RealtimeSessionOpenConfig,
    settings: MachineSettings,
    tools: ToolSet,
    limits: SessionLimits,
) -> ContinuityPolicy | None:
    """`policy`, if it can work for a session opened from `config` with `settings`.

    Raises:
        InvalidConfig: it is none, or its failover provider cannot go on with such a session.
        LlmError: the failover provider's model or protocol lack what is asked.
    """
    if policy is None:
        return None
    if not isinstance(policy, ContinuityPolicy):
        raise InvalidConfig(
            f"continuity is {type(policy).__name__}; allowed: ContinuityPolicy(...) or None"
        )
    if policy.failover is not None:
        there = Origin(
            provider=policy.failover.provider, config=config, tools=tools, limits=limits
        ).elsewhere(policy.failover.provider, policy.failover.llm_identity)
        plan = there.plan(policy.failover.provider.config, (), (), now=settings, unchanged=False)
        assert plan.settings is not None
        check_same_audio(settings, plan.settings)
    return policy
