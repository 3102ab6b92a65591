"""Texts in the form that a network reads: tokenised once, long ones in chunks, bucketed by length."""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.core.console import progress
from regraft.core.errors import DataError, PlanError
from regraft.core.hashing import hash_bytes
from regraft.core.holding import hold
from regraft.core.inputs import View
from regraft.core.preprocessing import TextPreprocessing
from regraft.core.randomness import numpy_generator
from regraft.targets.digests import Digests
from regraft.targets.image_inputs import content_keys

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST_TOKEN = 32  # characters: how far into a long text is read, in tokens of this length
# Fine enough that padding costs a fifth of one-line texts, few enough to compile a network for each.
_BUCKETS = (
    8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256,
    320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192,
)  # fmt: skip
_STORE_VERSION = 1


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of all pieces, one after the other; mapped from disk.

    Attributes
    ----------
    ids
        ``int32``: the ids of all pieces.
    ends
        ``int64 (pieces,)``: where in ``ids`` each piece ends.
    owners
        ``int64 (pieces,)``: the example of each piece.
    counts
        ``int64 (pieces,)``: how many of its tokens are the text's own and not special.
    """

    ids: np.ndarray
    ends: np.ndarray
    owners: np.ndarray
    counts: np.ndarray

    def piece(self, index: int) -> np.ndarray:
        """The ids of one piece."""
        start = int(self.ends[index - 1]) if index else 0
        return self.ids[start : int(self.ends[index])]


def tokenise(
    batches: Iterable[list[str]], total: int, preprocessing: TextPreprocessing, folder: Path, key: str
) -> Tokens:
    """Tokens of all texts, from ``folder`` where they were tokenised before."""
    store = folder / key
    hold(store)  # nobody makes room by removing what this process maps
    if not store.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
        try:
            _write_tokens(batches, total, preprocessing, part)
            _rename_unless_there(part, store)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    columns = {
        name: np.load(store / f"{name}.npy", allow_pickle=False) for name in ("ends", "owners", "counts")
    }
    return Tokens(np.memmap(store / "ids.i32", dtype=np.int32, mode="r"), **columns)


def _rename_unless_there(part: Path, store: Path) -> None:
    try:
        part.rename(store)
    except OSError:
        if not store.is_dir():  # another process was faster, else
            raise


def tokenise_here(texts: list[str], preprocessing: TextPreprocessing) -> Tokens:
    """Tokens of a few texts, in memory."""
    table = _Table()
    ids = [
        ids for row in _encoded(open_tokenizer(preprocessing), texts, preprocessing) for ids in table.add(row)
    ]
    columns = table.columns()
    return Tokens(np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32), **columns)


class _Table:
    """Where the pieces of each text lie, as it grows."""

    def __init__(self) -> None:
        self.lengths, self.owners, self.counts = array("q"), array("q"), array("q")
        self.examples = 0

    def add(self, encodings: list[Any]) -> Iterator[np.ndarray]:
        """Note the chunks of the next text and give their ids."""
        for encoding in encodings:
            self.lengths.append(len(encoding.ids))
            self.owners.append(self.examples)
            self.counts.append(len(encoding.ids) - sum(encoding.special_tokens_mask))
            yield np.asarray(encoding.ids, dtype=np.int32)
        self.examples += 1

    def columns(self) -> dict[str, np.ndarray]:
        """The columns of :class:`Tokens` but the ids."""
        columns = {
            "ends": np.cumsum(np.asarray(self.lengths, dtype=np.int64)),
            "owners": self.owners,
            "counts": self.counts,
        }
        return {name: np.asarray(values, dtype=np.int64) for name, values in columns.items()}


def _write_tokens(
    batches: Iterable[list[str]], total: int, preprocessing: TextPreprocessing, folder: Path
) -> None:
    """Ids go to disk as they come, so that no more than a batch of texts is in memory."""
    tokenizer, table = open_tokenizer(preprocessing), _Table()
    with open(folder / "ids.i32", "wb") as stream, progress("Tokenising", total, unit="texts") as advance:
        for texts in batches:
            for encodings in _encoded(tokenizer, texts, preprocessing):
                for ids in table.add(encodings):
                    ids.tofile(stream)
            advance(len(texts))
    for name, values in table.columns().items():
        np.save(folder / f"{name}.npy", values)


def open_tokenizer(preprocessing: TextPreprocessing) -> Any:
    """The tokenizer, cutting at ``max_length``, without padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(preprocessing.tokenizer.decode("utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(preprocessing.max_length)
    return tokenizer


def _encoded(tokenizer: Any, texts: list[str], preprocessing: TextPreprocessing) -> Iterator[list[Any]]:
    """The chunks of each text; characters that no chunk can reach are not tokenised."""
    reach = preprocessing.max_length * preprocessing.max_chunks * _LONGEST_TOKEN
    for encoding in tokenizer.encode_batch([text[:reach] for text in texts]):
        chunks = [encoding, *encoding.overflowing][: preprocessing.max_chunks]
        if not chunks[0].ids:
            raise DataError("the tokenizer gives no token, not even a special one, for an empty text")
        yield chunks


def bucket_of(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """``int64``: each length rounded up to the next bucket, at most ``max_length``."""
    steps = np.array([step for step in _BUCKETS if step < max_length] + [max_length])
    return steps[np.searchsorted(steps, lengths)].astype(np.int64)


class TextInputs:
    """Texts as :class:`regraft.core.inputs.Inputs`: a piece for each chunk,
    ``{"input_ids": Int64[Tensor, "B L"], "attention_mask": Int64[Tensor, "B L"]}``.
    """

    def __init__(
        self, names: Sequence[str], hashes: Digests, tokens: Tokens, preprocessing: TextPreprocessing
    ):
        self.names = names
        self.hashes = hashes
        self.tokens = tokens
        self.preprocessing = preprocessing
        self.owners = np.asarray(tokens.owners)
        self.weights = _weights(tokens, len(names))
        self.lengths = np.diff(tokens.ends, prepend=0)
        self.buckets = bucket_of(self.lengths, preprocessing.max_length)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def keys(self) -> list[str]:
        """Per example a hash of its content under its preprocessing."""
        # What a network gives for a text depends, in the last bits, on how far it is padded.
        return content_keys(self.hashes, f"{self.preprocessing.fingerprint} {_BUCKETS}")

    def batch(self, pieces: np.ndarray, *, view: View | None = None) -> dict[str, Tensor]:
        """Token ids padded to the bucket of the longest piece, and the mask.

        A random view leaves tokens out with the probability ``drop_tokens`` of its augmentation, but no
        special ones and never all. Raises ``PlanError`` where it asks for changes of pictures.
        """
        import torch

        if view is not None:
            _check_text_view(view)
        length = int(self.buckets[pieces].max(initial=1))
        ids = np.full((len(pieces), length), self.preprocessing.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, piece in enumerate(pieces):
            tokens = self.tokens.piece(int(piece))
            if view is not None and view.augment.drop_tokens:
                tokens = self._thinned(tokens, int(piece), view)
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def _thinned(self, tokens: np.ndarray, piece: int, view: View) -> np.ndarray:
        """The tokens of a piece without those that the view leaves out."""
        owner = int(self.owners[piece])
        ordinal = piece - int(np.searchsorted(self.owners, owner))
        chance = numpy_generator(view.seed, "view tokens", view.step, self.keys[owner], ordinal)
        drawn = chance.random(len(tokens))
        own = ~np.isin(tokens, self._special)
        dropped = own & (drawn < view.augment.drop_tokens)
        if dropped.any() and (dropped == own).all():
            dropped[np.where(own, drawn, -1).argmax()] = False
        return tokens[~dropped]

    @cached_property
    def _special(self) -> np.ndarray:
        """Ids that mark the ends of a text, or that the tokenizer calls special."""
        tokenizer = open_tokenizer(self.preprocessing)
        named = [id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special]
        return np.array(sorted({*named, *tokenizer.encode("").ids}), dtype=np.int32)


def _check_text_view(view: View) -> None:
    changed = view.augment.changed_for_pictures
    if changed:
        raise PlanError(
            f"{', '.join(changed)} changes pictures, and the data are texts: leave it out. Texts have "
            "drop_tokens, as in --set streams.target.augment.drop_tokens=0.1"
        )


def _weights(tokens: Tokens, examples: int) -> np.ndarray:
    """The share of each piece in its example's own tokens; a text without any is one whole piece."""
    counts = np.maximum(tokens.counts, 1)
    totals = np.bincount(tokens.owners, weights=counts, minlength=examples)
    return (counts / totals[tokens.owners]).astype(np.float32)


def store_key(hashes: Digests, preprocessing: TextPreprocessing) -> str:
    """The name under which tokens of these texts are kept."""
    return hash_bytes(
        json.dumps([_STORE_VERSION, preprocessing.fingerprint, hash_bytes(hashes.array.data)]).encode()
    )
