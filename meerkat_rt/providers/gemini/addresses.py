"""Where Gemini Live is, and how one is let in: AI Studio and Vertex."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import attrs

from ...model.errors import InvalidConfig
from ..base import Endpoint

STUDIO = "wss://generativelanguage.googleapis.com"
STABLE = "v1beta"
EXPERIMENTAL = "v1alpha"  # has what the stable version does not have yet
_TOKEN = "auth_tokens/"  # how the name of an ephemeral token begins


def _websocket(instance: object, _attribute: object, url: str | None) -> None:
    if url is not None and urlsplit(url).scheme not in ("ws", "wss"):
        where = type(instance).__name__
        raise InvalidConfig(f"{where}.base_url is {url!r}; allowed: ws:// and wss:// URLs")


def _given(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value.strip():
        where = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidConfig(f"{where} is empty; allowed: the name of one")


@attrs.frozen(kw_only=True)
class AiStudio:
    """The Gemini API.  `api_key` is a key, or the name of an ephemeral token (`auth_tokens/...`).

    `api_version` None: v1beta, or v1alpha where the token or a setting needs it.  The key goes into
    a header, never into the address.
    """

    api_key: str = attrs.field(repr=False)
    api_version: str | None = None
    base_url: str = attrs.field(default=STUDIO, validator=_websocket)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def ephemeral(self) -> bool:
        """The key is a token that its issuer may have bound to a configuration."""
        return self.api_key.startswith(_TOKEN)

    def model_path(self, model: str) -> str:
        """How the setup names the model."""
        return model if "/" in model else f"models/{model}"

    def endpoint(self, *, experimental: bool) -> Endpoint:
        """Where to connect; `experimental`: the configuration needs v1alpha."""
        version = self.api_version or (EXPERIMENTAL if experimental or self.ephemeral else STABLE)
        method = "BidiGenerateContentConstrained" if self.ephemeral else "BidiGenerateContent"
        headers = dict(self.headers)
        if self.ephemeral:
            headers["Authorization"] = f"Token {self.api_key}"
        elif self.api_key:
            headers["x-goog-api-key"] = self.api_key
        service = f"google.ai.generativelanguage.{quote(version, safe='')}.GenerativeService"
        return Endpoint(url=f"{self.base_url.rstrip('/')}/ws/{service}.{method}", headers=headers)


@attrs.frozen(kw_only=True)
class Vertex:
    """Google Cloud.  `access_token` is an OAuth token of scope cloud-platform.

    Tokens last for an hour: make a new `Vertex` with a fresh one for each session.
    `quota_project` is billed instead of the token's own.
    """

    project: str = attrs.field(validator=_given)
    location: str = attrs.field(validator=_given)
    access_token: str = attrs.field(repr=False)
    api_version: str = "v1beta1"
    base_url: str | None = attrs.field(default=None, validator=_websocket)
    quota_project: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    def model_path(self, model: str) -> str:
        """How the setup names the model."""
        if model.startswith("projects/"):
            return model
        model = model if model.startswith("publishers/") else f"publishers/google/models/{model}"
        return f"projects/{self.project}/locations/{self.location}/{model}"

    def endpoint(self, *, experimental: bool) -> Endpoint:
        """Where to connect.  There is one version, which has everything."""
        host = "aiplatform.googleapis.com"
        if self.location != "global":
            host = f"{quote(self.location, safe='')}-{host}"
        base = (self.base_url or f"wss://{host}").rstrip("/")
        headers = {**self.headers, "Authorization": f"Bearer {self.access_token}"}
        if self.quota_project is not None:
            headers["x-goog-user-project"] = self.quota_project
        service = f"google.cloud.aiplatform.{quote(self.api_version, safe='')}.LlmBidiService"
        return Endpoint(url=f"{base}/ws/{service}/BidiGenerateContent", headers=headers)


Platform = AiStudio | Vertex
