"""Load encoders, data sets, strategies and fusions that users bring: from a file of theirs, or an installed package.

`path/to/file.py:Name` names something in a file. A bare name is looked up among the entry points of installed packages
(group `mmcache.encoders` and so on); a package is imported only when its name is chosen on a command line or in a file
given with --config, never because a store, a run or a data set names it. See docs/plugins.md.
"""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmcache.common.plugin_faults import PluginError, fault_in, watch
from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import unknown_name
from mmcache.store.ground.text import excerpt

_MOST_BYTES = 2**20  # of a plugin's file
_SHOWN = 12  # names of a file that a message lists


@dataclasses.dataclass(frozen=True)
class PluginKind:
    """A kind of plugin, defined by the part of mmcache that uses it.

    Attributes:
        name: what messages call it, such as "encoder".
        group: the entry points of installed packages, such as "mmcache.encoders".
        wanted: what an object of this kind is, for the message about one that is not.
        fault: what is wrong with an object; None for a right one.
    """

    name: str
    group: str
    wanted: str
    fault: Callable[[Any], str | None]


@dataclasses.dataclass(frozen=True)
class PluginRecord:
    """Which plugin was used, as stores and runs record it.

    Attributes:
        name: the name in its file, or that of the entry point.
        sha256: of the file, or of all Python files of the package.
        spec: what loads it again: the absolute path and the name, or the entry point's name.
    """

    name: str
    sha256: str
    spec: str = dataclasses.field(compare=False, default="")

    def recorded(self) -> dict[str, str]:
        """What a store or a run keeps: no path, because nothing is ever loaded from there."""
        return {"name": self.name, "sha256": self.sha256}


def read_record(value: object) -> dict[str, str] | None:
    """What a store or a run says of a plugin, whoever wrote it; None where it says nothing."""
    if value is None:
        return None
    if isinstance(value, Mapping) and {"name", "sha256"} == set(value):
        return {key: excerpt(text)[1:-1] if isinstance(text, str) else excerpt(text) for key, text in value.items()}
    return {"name": "unknown", "sha256": "unknown"}


def difference(saved: Mapping[str, str] | None, ours: Mapping[str, str] | None) -> str:
    """In words, how the recorded plugin differs from the one given now; None stands for no plugin."""
    if saved is None:
        return "no plugin made it, and this one is a plugin"
    made = f"the plugin '{saved['name']}' made it, from source with the sha256 {saved['sha256'][:12]}"
    if ours is None:
        return f"{made}; this one is no plugin"
    return f"{made}; now '{ours['name']}' has the sha256 {ours['sha256'][:12]}"


def is_file_spec(spec: str) -> bool:
    """Whether `spec` names a Python file, with or without the name of something in it."""
    path, _, name = spec.rpartition(":")
    return path.endswith(".py") or name.endswith(".py")


def absolute_spec(spec: str) -> str:
    """The same plugin, named so that workers in other working directories find it."""
    if not is_file_spec(spec):
        return spec
    path, separator, name = spec.rpartition(":") if not spec.endswith(".py") else (spec, "", "")
    return f"{Path(path).expanduser().absolute()}{separator}{name}"


def installed_plugins(group: str) -> dict[str, list[importlib.metadata.EntryPoint]]:
    """Name -> the entry points of that name in installed packages, without importing any of them."""
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=group):
        same = found.setdefault(point.name, [])
        if (package_of(point), point.value) not in [(package_of(other), other.value) for other in same]:
            same.append(point)  # a package that lies on the path twice is one package
    return found


def clash_note(name: str, kind: PluginKind) -> str | None:
    """What to tell about a built-in name that an installed package offers too; None where none does."""
    points = installed_plugins(kind.group).get(name)
    if not points:
        return None
    packages = " and ".join(sorted(package_of(point) for point in points))
    return f"{kind.name} '{name}' is the built-in one; the {kind.name} of that name in {packages} is not used"


def load_plugin(spec: str, kind: PluginKind, sha256: str = "") -> tuple[Any, PluginRecord]:
    """Import what `spec` names. The caller looks up built-in names first.

    Args:
        sha256: the hash that the source must have; "" for any.

    Raises:
        PluginError: there is no such file, package or name; two packages have the name; its source fails when it is
            imported or has another hash; or the object is not of this kind.
    """
    found, record = _from_file(spec, kind) if is_file_spec(spec) else _from_package(spec, kind)
    if sha256 and record.sha256 != sha256:
        raise PluginError(
            f"{kind.name} plugin {spec} has other source here (sha256 {record.sha256[:12]}) than where the command "
            f"started ({sha256[:12]}). All machines must see one version, and it must not change during a run."
        )
    wrong = kind.fault(found)
    if wrong is not None:
        raise PluginError(f"{spec} cannot be used as {kind.name}: {wrong}. Wanted: {kind.wanted}. See docs/plugins.md.")
    return found, record


def _from_file(spec: str, kind: PluginKind) -> tuple[Any, PluginRecord]:
    spec = absolute_spec(spec)
    text, _, name = spec.rpartition(":") if not spec.endswith(".py") else (spec, "", "")
    path = Path(text)
    try:
        source = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise PluginError(f"{kind.name} plugin {path} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(source).hexdigest()
    module = _module_of(path, source, digest)
    if not name or not hasattr(module, name):
        said = f"has no '{name}'" if name else "is named without what to use of it"
        example = f"{path}:{next(iter(_offered(module)), 'Name')}"
        raise PluginError(
            f"{kind.name} plugin {path} {said}. It defines: {_listed(module)}. Name one, such as {example}"
        )
    return getattr(module, name), PluginRecord(name, digest, spec)


def _module_of(path: Path, source: bytes, digest: str) -> types.ModuleType:
    """The file as a module, run once in a process for each content it has had."""
    called = f"mmcache_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{digest[:16]}"
    if called in sys.modules:
        return sys.modules[called]
    spec = importlib.util.spec_from_loader(called, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    watch(path)
    sys.modules[called] = module  # dataclasses and pickle look there for the module of a class
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[called]
        raise _import_fault(error, path) from error
    except BaseException:
        del sys.modules[called]
        raise
    return module


def _import_fault(error: BaseException, path: Path) -> PluginError:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return PluginError(f"plugin {path}, line {error.lineno}: {error.msg}")
    fault = fault_in(error) or PluginError(f"plugin {path}: {type(error).__name__}: {error}")
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing and (path.with_name(f"{missing}.py").exists() or path.with_name(missing).is_dir()):
        return PluginError(
            f"{fault}. A plugin's file cannot import the files beside it, because its hash would not cover them: put "
            "all of it into one file, or install it as a package with an entry point"
        )
    return fault


def _offered(module: types.ModuleType) -> list[str]:
    """The functions and classes that a plugin's file defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == module.__name__
    ]


def _listed(module: types.ModuleType) -> str:
    names = _offered(module)
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "no function and no class"


def _from_package(name: str, kind: PluginKind) -> tuple[Any, PluginRecord]:
    installed = installed_plugins(kind.group)
    if name not in installed:
        named = unknown_name(kind.name, name, installed)
        raise PluginError(f"{named} A file of one's own is given as path/to/file.py:Name")
    if len(installed[name]) > 1:
        packages = " and ".join(sorted(f"{package_of(point)} ({point.value})" for point in installed[name]))
        raise PluginError(f"two packages offer the {kind.name} '{name}': {packages}. Uninstall one of them")
    point = installed[name][0]
    try:
        top = importlib.util.find_spec(point.module.partition(".")[0])
        files = _sources(top.origin, list(top.submodule_search_locations or [])) if top else []
        for path in files:
            watch(path)
        found = point.load()
    except (Exception, SystemExit) as error:
        fault = fault_in(error) or f"{type(error).__name__}: {error}"
        raise PluginError(
            f"{kind.name} '{name}' of the package {package_of(point)} cannot be imported: {fault}"
        ) from error
    return found, PluginRecord(name, _hash_of(files), name)


def package_of(point: importlib.metadata.EntryPoint) -> str:
    """Name and version of the package that offers an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def _sources(origin: str | None, folders: list[str]) -> list[Path]:
    """The Python files of a package, or the one of a module."""
    if not folders:
        return [Path(origin)] if origin else []
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))


def _hash_of(files: list[Path]) -> str:
    """A digest of names and contents, whatever folder the package is installed in."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.parent.name}/{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
