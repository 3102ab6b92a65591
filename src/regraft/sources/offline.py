"""Files of a hub: from the local cache, or fetched after a quick look whether the hub can be reached."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from regraft.core.errors import OfflineError, SourceError
from regraft.core.optional import require

_PATIENCE = 3.0  # seconds; the hub's own library would retry for minutes


def hub_folder(
    name: str, *, needed: Sequence[str], weights: Sequence[str], extra: Sequence[str] = ()
) -> Path:
    """The local folder of a hub's model: from the cache if it is there, else fetched.

    Parameters
    ----------
    needed
        Files without which a cached copy does not count.
    weights
        Weight files, best first; one of them has to be there.
    extra
        Patterns of the other files worth having.

    Raises
    ------
    OfflineError
        Within five seconds where it is not cached and the hub cannot be reached.
    """
    hub = require("huggingface_hub", "Reading models from the hub", "regraft[hf]")
    cached = _cached(hub, name, needed, weights)
    if cached is not None:
        return cached
    require_network(name, "the local Hugging Face cache", hub.constants.ENDPOINT)
    return _fetch(hub, name, needed, weights, extra)


def require_network(name: str, cache: str, url: str) -> None:
    """Raise :class:`OfflineError` with one sentence that says what to do, unless ``url`` answers soon."""
    if not is_reachable(url):
        raise OfflineError(
            f"{name!r} is not in {cache} and its hub cannot be reached from here: fetch it once "
            "where there is a network, or name something that is on this machine (a folder, a file, "
            "packaged:..; `regraft sources` lists them)"
        )


def is_reachable(url: str, *, patience: float = _PATIENCE) -> bool:
    """Whether anything answers at ``url`` within ``patience`` seconds, through a proxy where one is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    answers: list[bool] = []
    # Name resolution knows no time limit of its own, so all of it is watched from outside.
    asking = threading.Thread(target=lambda: answers.append(_answers(url, patience)), daemon=True)
    asking.start()
    asking.join(patience + 0.5)
    return bool(answers and answers[0])


def _answers(url: str, patience: float) -> bool:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=patience):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500 and error.code not in (403, 407)  # a proxy that refuses is no network
    except (OSError, ValueError):
        return False


def _cached(hub: object, name: str, needed: Sequence[str], weights: Sequence[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        places = [try_to_load_from_cache(name, file) for file in needed]
        held = [try_to_load_from_cache(name, file) for file in weights]
    except HFValidationError as error:
        raise SourceError(f"{name!r} is neither a folder nor the name of a model: {error}") from error
    if all(isinstance(place, str) for place in places) and any(isinstance(file, str) for file in held):
        file = next(file for file in held if isinstance(file, str))
        return Path(file).parent
    return None


def _fetch(
    hub: object, name: str, needed: Sequence[str], weights: Sequence[str], extra: Sequence[str]
) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        listed = set(HfApi().list_repo_files(name))
        best = next((file for file in weights if file in listed), None)
        if best is None:
            raise SourceError(f"{name} on the hub holds none of {', '.join(weights)}")
        shards = (
            [f"{best.removesuffix('.index.json').rsplit('.', 1)[0]}-*"]
            if best.endswith(".index.json")
            else []
        )
        folder = snapshot_download(name, allow_patterns=[*needed, *extra, best, *shards])
    except HfHubHTTPError as error:
        raise SourceError(f"the hub has no model {name!r} that can be read from here: {error}") from error
    except OSError as error:
        raise OfflineError(f"fetching {name!r} from the hub broke off: {error}") from error
    return Path(folder)


def cached_download(name: str, url: str) -> Path:
    """The file behind a library's address: from torch's cache if it is there, else fetched."""
    import torch

    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if place.is_file():
        return place
    require_network(name, "torch's local cache", url)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(place), progress=False)
    except OSError as error:
        raise OfflineError(f"fetching {name!r} broke off: {error}") from error
    return place
