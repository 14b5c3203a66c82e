"""From what the connections of a session are made: the first one, and each that takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from ..model.conversation import AssistantMessage, AssistantToolUse, SystemMessage
from ..model.errors import InvalidConfig
from ..model.live_config import RealtimeConfig, ToolDefinition
from ..model.open_config import RealtimeSessionOpenConfig
from ..providers.base import Dialect, Opening
from ..transport import Connector
from ..turn.effects import MachineSettings, ToolSpec
from .limits import SessionLimits
from .tools import ToolSet, advertised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model.conversation import Message, SessionLlmIdentity, ToolDef
    from ..turn.tools import OpenCall


class Redialable(Protocol):
    """A provider that can be connected to again: `OpenAIRealtime`, `GeminiLive`."""

    @property
    def config(self) -> RealtimeConfig:
        """What the open config does not say."""
        ...

    @property
    def connector(self) -> Connector:
        """What opens its connections."""
        ...

    def dialect(self, config: RealtimeSessionOpenConfig) -> Dialect:
        """The dialect of a session opened from `config`."""
        ...

    def settings(
        self,
        config: RealtimeSessionOpenConfig,
        tools: ToolSet | None = None,
        limits: SessionLimits | None = None,
    ) -> MachineSettings:
        """The rules of a session opened from `config`."""
        ...


@attrs.frozen(kw_only=True)
class Plan:
    """How one connection is to be opened.

    `settings` are the machine's, None where they stay.
    `answerable` are the open calls that the new session is told of, to be answered there.
    """

    dialect: Dialect
    connector: Connector
    opening: Opening
    config: RealtimeConfig
    settings: MachineSettings | None = None
    answerable: tuple[str, ...] = ()


@attrs.define(kw_only=True)
class Origin:
    """What the sessions of one conversation are opened from, as of now.

    Where the application has changed the tools, or the instruction, of the live session, those of
    the open config and the ToolSet are not advertised any more.
    """

    provider: Redialable
    config: RealtimeSessionOpenConfig
    tools: ToolSet
    limits: SessionLimits

    def elsewhere(self, provider: Redialable, identity: SessionLlmIdentity | None) -> Origin:
        """The same conversation at another provider, whose model `identity` names."""
        config = (
            self.config if identity is None else attrs.evolve(self.config, llm_identity=identity)
        )
        return Origin(provider=provider, config=config, tools=self.tools, limits=self.limits)

    def refreshed(self, config: RealtimeSessionOpenConfig) -> None:
        """The live session has been told of the tools and the context of `config`."""
        self.config = attrs.evolve(
            self.config,
            visible_tools=config.visible_tools,
            runtime_system_context=config.runtime_system_context,
        )

    def specs(self, config: RealtimeConfig) -> tuple[ToolSpec, ...] | None:
        """The rules of the functions that `config` offers; those of the ToolSet keep their handler.

        None: it offers none of its own.
        """
        if config.tools is None:
            return None
        deadline = self.limits.tool_deadline
        own = {spec.name: spec for spec in self.tools.specs(deadline)}
        names = [each.name for each in config.tools if isinstance(each, ToolDefinition)]
        return tuple(own.get(name) or ToolSpec(name=name, deadline=deadline) for name in names)

    def mutated(self, config: RealtimeConfig) -> bool:
        """The functions of `config` have taken the place of those that the session began with."""
        return config.tools is not None and config.tools != self.provider.config.tools

    def _open_config(
        self, config: RealtimeConfig, history: Sequence[Message]
    ) -> RealtimeSessionOpenConfig:
        own = list(self.config.seed_messages)
        if (
            config.instruction != self.provider.config.instruction
        ):  # the instruction has taken the place of what opened the history
            while own and isinstance(own[0], SystemMessage):
                del own[0]
        opened = self.config.with_seed_messages([*own, *history])
        if self.mutated(config):
            opened = opened.with_visible_tools(())
        if config.model not in (None, opened.llm_identity.model):
            identity = attrs.evolve(opened.llm_identity, model=config.model)
            opened = attrs.evolve(opened, llm_identity=identity)
        return opened

    def plan(
        self,
        config: RealtimeConfig,
        history: Sequence[Message],
        calls: Sequence[OpenCall],
        *,
        now: MachineSettings,
        handle: str | None = None,
        resend: Sequence[bytes] = (),
        unchanged: bool = True,
    ) -> Plan:
        """How to connect with `config`: to the session of `handle`, or to a new one.

        `resend` are frames that the session of `handle` has not heeded.  `history` follows the open
        config's own seeds; `calls` are open.  `now` are the rules that hold at this moment;
        `unchanged`: they cannot have changed.

        Raises:
            LlmError: model or protocol lack what is asked; nothing was connected.
        """
        history = list(history)
        bare = self._open_config(config, ())
        provider = self.provider
        if config != provider.config:
            provider = attrs.evolve(provider, config=config)  # type: ignore[misc]
        dialect = provider.dialect(bare)
        definitions: tuple[ToolDef, ...] = ()
        if not self.mutated(config):
            definitions, _ = advertised(bare, self.tools, self.limits.tool_deadline)
        settings = None
        if not unchanged:
            tools = ToolSet() if self.mutated(config) else self.tools
            made = provider.settings(bare, tools, self.limits)
            settings = attrs.evolve(
                made,
                seed=now.seed,
                tools=now.tools,
                nudge_timeout=made.nudge_timeout,
            )
        if handle is not None:
            opening = dialect.resuming(handle).opening(bare, definitions, resend=resend)
            answerable: tuple[str, ...] = ()
        else:
            answerable = tuple(each.call_id for each in calls if dialect.seeds_call(each.call_id))
            history += (
                AssistantMessage(
                    blocks=(AssistantToolUse(id=each.call_id, name=each.name, args=each.arguments),)
                )
                for each in calls
            )
            opening = dialect.opening(
                self._open_config(config, history), definitions, open_calls=answerable
            )
        return Plan(
            dialect=dialect,
            connector=provider.connector,
            opening=opening,
            config=config,
            settings=settings,
            answerable=answerable,
        )


def check_same_audio(first: MachineSettings, second: MachineSettings) -> None:
    """Refuse a second provider that does not take and give the audio of the first.

    Raises:
        InvalidConfig: says which format differs.
    """
    ours, theirs = first.capabilities, second.capabilities
    for name, mine, other in (
        ("input", ours.audio_input_format, theirs.audio_input_format),
        ("output", ours.audio_output_format, theirs.audio_output_format),
    ):
        if mine != other:
            raise InvalidConfig(
                f"the failover provider's {name} audio is {other}, and the session's is {mine}; "
                "nothing is resampled, so both must be the same (GeminiLive has input_rate)"
            )
