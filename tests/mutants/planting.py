"""Puts a mistake into the package as it is imported: nothing on disk is touched."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import CodeType, ModuleType

import attrs


@attrs.frozen
class Edit:
    """A small change of the source: `before`, which the module has exactly once, becomes `after`.

    `module` is named from inside the package.  Both texts are whole lines, or parts of one.
    """

    module: str
    before: str
    after: str

    @property
    def full_name(self) -> str:
        """The module's name for an import."""
        return f"meerkat_rt.{self.module}"

    def applied(self, source: str) -> str:
        """The source with the change made.

        Raises:
            StaleMutant: the text to be changed is not there, or several times.
        """
        found = source.count(self.before)
        if found != 1:
            raise StaleMutant(f"{self.full_name} has {found} times, not once:\n{self.before}")
        return source.replace(self.before, self.after)


@attrs.frozen(kw_only=True)
class Mutant:
    """A realistic mistake with a name.  `about`: what is wrong, in a few words."""

    name: str
    about: str
    edits: tuple[Edit, ...]

    def check(self) -> None:
        """See that every edit still fits, without importing what it edits.

        Raises:
            StaleMutant: one does not.
        """
        for module, edits in _by_module(self.edits).items():
            path = _path(module)
            compile(_edited(self.name, path, edits), path, "exec")


class StaleMutant(Exception):
    """A mutant no longer fits the source; it must be stated anew."""


def plant(mutant: Mutant) -> None:
    """Make the mistake in this process, for good.

    Raises:
        RuntimeError: a module it changes has been imported already.
    """
    by_module = _by_module(mutant.edits)
    if loaded := sorted(by_module.keys() & sys.modules.keys()):
        raise RuntimeError(f"{', '.join(loaded)}: too late to change it, it is imported")
    sys.meta_path.insert(0, _Planter(mutant.name, by_module))


def _by_module(edits: Iterable[Edit]) -> dict[str, list[Edit]]:
    grouped: dict[str, list[Edit]] = {}
    for edit in edits:
        grouped.setdefault(edit.full_name, []).append(edit)
    return grouped


def _path(module: str) -> Path:
    package, *rooms = module.split(".")
    spec = importlib.util.find_spec(package)  # of anything deeper it would import the package
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*rooms).with_suffix(".py")


def _edited(name: str, path: Path, edits: Iterable[Edit]) -> str:
    source = path.read_text(encoding="utf-8")
    for edit in edits:
        try:
            source = edit.applied(source)
        except StaleMutant as stale:
            raise StaleMutant(f"mutant {name!r} is stale: {stale}") from None
    return source


class _Planter(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, by_module: dict[str, list[Edit]]) -> None:
        self._name = name
        self._by_module = by_module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        edits = self._by_module.get(fullname)
        if edits is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._name, edits)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, name: str, edits: list[Edit]) -> None:
        super().__init__(fullname, path)
        self._mutant = name
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        source = _edited(self._mutant, Path(self.path), self._edits)
        return compile(source, self.path, "exec", dont_inherit=True)
