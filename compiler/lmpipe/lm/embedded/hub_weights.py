"""Weights by their name on the hub: `<owner>/<repo>[@<revision>][/<file, or pattern>]`.

The package huggingface_hub downloads them, once, into its own cache; a file that is there is used
without a network. Its settings apply: HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.default_weights import weights_sha256
from lmpipe.lm.embedded.split_weights import parts_of

# As the hub allows them: no two dashes or dots in a row, and none at the ends.
_NAME = re.compile(r"[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")
_SHOWN = 20  # files in an error

# Where the weights of a name were found; they are asked for at every call.
_found: dict[HubName, Path] = {}
_looking = threading.Lock()


@dataclass(frozen=True, slots=True)
class HubName:
    """Weights on the hub; `file` may be a pattern such as `*q4_k_m.gguf`."""

    repo: str
    file: str
    revision: str | None = None

    @staticmethod
    def parse(name: str) -> HubName | None:
        """Read the name of an LM without `local/`; None if it can only be the path of a file."""
        owner, _, rest = name.partition("/")
        repo, _, file = rest.partition("/")
        repo, at, revision = repo.partition("@")
        if not _NAME.fullmatch(owner) or not _NAME.fullmatch(repo) or (at and not revision):
            return None
        if not file and repo.lower().endswith(".gguf"):
            return None  # a file in a folder
        return HubName(f"{owner}/{repo}", file or "*.gguf", unquote(revision) or None)

    @property
    def is_pattern(self) -> bool:
        """Whether the file must be looked up in the list of the repository's files."""
        return any(sign in self.file for sign in "*?[")

    def __str__(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "")

    def choose(self, files: Iterable[str]) -> str:
        """Return the one file that is meant, of those that the repository has.

        Raises:
            ConfigError: if there is none, or are several.
        """
        weights = sorted({parts_of(file)[0] for file in files if file.lower().endswith(".gguf")})
        matching = [file for file in weights if self.matches(file)]
        if len(matching) == 1:
            return matching[0]
        listed = ", ".join((matching or weights)[:_SHOWN]) or "none"
        if matching:
            problem = f"{len(matching)} files of {self} match {self.file}: {listed}"
        else:
            problem = f"{self} has no file {self.file}, but these: {listed}"
        raise ConfigError(f'{problem}. Name one of them, as LM("local/{self}/<file>")')

    def matches(self, file: str) -> bool:
        """Whether this is a weights file, or the first of its parts, that the name means."""
        if not self.is_pattern:
            return file == parts_of(self.file)[0]
        # Vision models come with a projector, which is no LM.
        if "mmproj" in file.lower() and "mmproj" not in self.file.lower():
            return False
        return fnmatchcase(file.lower(), self.file.lower())


def found_weights(name: HubName) -> Path | None:
    """Return the file of weights that this process has used before, if it is still there."""
    path = _found.get(name)
    return path if path is not None and path.exists() else None


def hub_weights(name: HubName) -> Path:
    """Return the file of weights on the hub; download it if it is not in the hub's cache.

    Of weights in several files, all are downloaded, and the first one is returned.

    Raises:
        ConfigError: if huggingface_hub is not installed or cannot get the file, or the name means
            no file or several.
    """
    with _looking:
        path = found_weights(name)
        if path is None:
            hub = _import_hub(name)
            path = _cached(hub, name) or _fetch(hub, name)
            weights_sha256(path)  # takes seconds, so here, where no event loop waits for it
            _found[name] = path
    return path


def _fetch(hub: Any, name: HubName) -> Path:
    api, wanted = hub.HfApi(), {"revision": name.revision}
    with _explained(hub, name):
        files = api.list_repo_files(name.repo, **wanted)
    parts = parts_of(name.choose(files))
    with _explained(hub, name):
        fetched = [api.hf_hub_download(name.repo, part, **wanted) for part in parts]
    return Path(fetched[0])


@contextmanager
def _explained(hub: Any, name: HubName) -> Iterator[None]:
    """Raise the hub's errors as ConfigErrors that say what to do."""
    import httpx

    errors, a_path = hub.errors, 'LM("local/<path of a .gguf file>")'
    page = f"{hub.constants.ENDPOINT}/{name.repo}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ConfigError(
            f"{name.repo} is a gated repository: accept its terms at {page}, then log in with "
            "`hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigError(
            f"the hub has no repository {name.repo}, or it is private (log in with `hf auth login` "
            f"or set HF_TOKEN), and there is no file {name.repo}/{name.file} in this folder: "
            f"correct the name, or write {a_path}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(
            f"{name.repo} has no revision {name.revision}: name a branch, a tag or a commit, or "
            "leave it out"
        ) from error
    except (errors.LocalEntryNotFoundError, ConnectionError, httpx.TransportError) as error:
        raise ConfigError(
            f"{name.file} of {name} is not in the cache of huggingface_hub, and the hub cannot be "
            f"reached ({error}): download it once while online, with `hf download {name.repo} …`, "
            f"or write {a_path}"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{name.file} of {name} cannot be downloaded ({error}): try again, or download it "
            f"yourself and write {a_path}"
        ) from error


def _cached(hub: Any, name: HubName) -> Path | None:
    """Return the file in the hub's cache; None if it, or one of its parts, is not there."""
    file = name.file
    if name.is_pattern:
        files = [cached for cached in _cached_files(hub, name) if name.matches(cached)]
        if not files:
            return None
        file = name.choose(files)
    found = [
        hub.try_to_load_from_cache(name.repo, part, revision=name.revision)
        for part in parts_of(file)
    ]
    return Path(found[0]) if all(isinstance(path, str) for path in found) else None


def _cached_files(hub: Any, name: HubName) -> list[str]:
    """List the files of a repository's revision that are in the hub's cache."""
    try:
        repos = hub.scan_cache_dir().repos
    except hub.errors.CacheNotFound:
        return []
    wanted = name.revision or "main"
    return [
        file.file_path.relative_to(revision.snapshot_path).as_posix()
        for repo in repos
        if repo.repo_type == "model" and repo.repo_id == name.repo
        for revision in repo.revisions
        if wanted in (revision.commit_hash, *revision.refs)
        for file in revision.files
    ]


def _import_hub(name: HubName) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ConfigError(
            f"there is no file {name.repo}/{name.file} in this folder, and to download "
            f"{name.file} of {name} from the hub, lmpipe needs the package huggingface_hub: run "
            "pip install 'lmpipe[hub]'"
        ) from error
    return huggingface_hub
