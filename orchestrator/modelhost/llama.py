"""One GGUF file in llama.cpp: loading it, text to tokens and back, decoding a batch.

The only module that knows llama.cpp's pointers. Everything here belongs to the child process.
"""

from __future__ import annotations

import ctypes
import time
from collections import deque
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np
import numpy.typing as npt

LARGEST_BATCH = 512  # tokens decoded in one step
_log: deque[str] = deque(maxlen=40)  # llama.cpp's last words, for error messages


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _keep(level: int, text: bytes, data: Any) -> None:
    del level, data
    _log.append(text.decode(errors="replace")[:500])


def silence() -> None:
    """Keep llama.cpp from writing to standard error; its last lines go into error messages."""
    llama.llama_log_set(_keep, ctypes.c_void_p(0))
    llama.llama_backend_init()


def last_words() -> str:
    """What llama.cpp said last about an error."""
    lines = "".join(_log).splitlines()
    telling = [line.strip() for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return "; ".join((telling or lines)[-2:])[:500]


class Llama:
    """A loaded model with room for `slots` answers of `context` tokens each.

    Raises ValueError, with llama.cpp's words, when the file cannot be loaded.
    """

    def __init__(self, weights: Path, *, context: int, slots: int, threads: int) -> None:
        model = llama.llama_model_load_from_file(bytes(weights), llama.llama_model_default_params())
        if not model:
            raise ValueError(f"{weights.name} cannot be loaded: {last_words()}")
        settings = llama.llama_context_default_params()
        settings.n_ctx = context * slots
        settings.n_seq_max = slots
        settings.n_batch = settings.n_ubatch = LARGEST_BATCH
        settings.n_threads = settings.n_threads_batch = threads
        settings.kv_unified = False  # each answer attends to its own cells only
        settings.no_perf = True
        self._context = llama.llama_init_from_model(model, settings)
        if not self._context:
            raise ValueError(f"{weights.name} cannot be given a context of {context} × {slots} tokens: {last_words()}")
        self._model = model
        self.vocab: Any = llama.llama_model_get_vocab(model)
        self._memory: Any = llama.llama_get_memory(self._context)
        if not self._memory or not llama.llama_model_has_decoder(model):
            raise ValueError(f"{weights.name} cannot write; it makes embeddings only")
        self.slots = slots
        self.context: int = min(context, llama.llama_n_ctx_seq(self._context))
        self.vocabulary: int = llama.llama_vocab_n_tokens(self.vocab)
        self.can_shift: bool = llama.llama_memory_can_shift(self._memory)
        self.chat_template = self._text(llama.llama_model_chat_template(model, None))
        self.bos = self._token_text(llama.llama_vocab_bos(self.vocab))
        self.eos = self._token_text(llama.llama_vocab_eos(self.vocab))
        middle = (llama.llama_vocab_fim_pre, llama.llama_vocab_fim_suf, llama.llama_vocab_fim_mid)
        self.middle: tuple[int, int, int] = tuple(find(self.vocab) for find in middle)  # negative: it has none
        self._batch = llama.llama_batch_init(LARGEST_BATCH, 0, 1)
        # Each attribute of the structure makes a new pointer object: taken once, they cost nothing per token.
        self._token, self._pos, self._wanted = self._batch.token, self._batch.pos, self._batch.logits
        self._seq = [self._batch.seq_id[index] for index in range(LARGEST_BATCH)]
        for index in range(LARGEST_BATCH):
            self._batch.n_seq_id[index] = 1
        self._pieces: dict[int, bytes] = {}

    @property
    def pointer(self) -> Any:
        """llama.cpp's context, for samplers."""
        return self._context

    def set_threads(self, threads: int) -> None:
        """Compute with so many threads from the next step on."""
        llama.llama_set_n_threads(self._context, threads, threads)

    def tokens(self, text: str, *, is_beginning: bool) -> list[int]:
        """Text as token ids; `is_beginning` puts the model's opening token in front, unless the text has it."""
        data = text.encode(errors="replace")
        opens = is_beginning and not (self.bos and text.startswith(self.bos))
        size = len(data) + 8
        found = (llama.llama_token * size)()
        count = llama.llama_tokenize(self.vocab, data, len(data), found, size, opens, True)
        if count < 0:
            raise ValueError("the text cannot be turned into tokens")
        return list(found[:count])

    def piece(self, token: int) -> bytes:
        """A token's bytes; they need not be whole characters."""
        piece = self._pieces.get(token)
        if piece is None:
            room = ctypes.create_string_buffer(1024)
            length = llama.llama_token_to_piece(self.vocab, token, room, len(room), 0, True)
            piece = self._pieces[token] = room.raw[: max(0, length)]
        return piece

    def is_end(self, token: int) -> bool:
        """Whether a token ends the answer."""
        return bool(llama.llama_vocab_is_eog(self.vocab, token))

    def put(self, index: int, token: int, position: int, slot: int, *, wants_logits: bool) -> None:
        """Place a token in the next batch."""
        self._token[index], self._pos[index], self._wanted[index] = token, position, wants_logits
        self._seq[index][0] = slot

    def decode(self, count: int) -> None:
        """Compute the first `count` tokens placed. Raises RuntimeError when llama.cpp cannot."""
        self._batch.n_tokens = count
        status = llama.llama_decode(self._context, self._batch)
        if status:
            raise RuntimeError(f"llama.cpp cannot decode ({status}): {last_words()}")

    def logits(self, index: int) -> npt.NDArray[np.float32]:
        """How likely each token of the vocabulary is next, after the batch's token at `index`; not to be kept."""
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(self._context, index), shape=(self.vocabulary,))

    def forget(self, slot: int, start: int = 0, end: int = -1) -> bool:
        """Drop a slot's tokens from `start` up to `end` (-1: all that follow); False when the model cannot."""
        return bool(llama.llama_memory_seq_rm(self._memory, slot, start, end))

    def move(self, slot: int, start: int, by: int) -> None:
        """Renumber a slot's tokens from `start` on."""
        llama.llama_memory_seq_add(self._memory, slot, start, -1, by)

    def pace(self, threads: int, *, most_s: float = 1.0, tokens: int = 16) -> float:
        """Tokens per second with so many threads, one answer alone, measured in slot 0."""
        self.set_threads(threads)
        self.forget(0)
        self.put(0, 0, 0, 0, wants_logits=True)
        self.decode(1)  # the first step also wakes the threads
        self.logits(0)
        start = time.perf_counter()
        for position in range(1, min(tokens, self.context - 1) + 1):
            self.put(0, 0, position, 0, wants_logits=True)
            self.decode(1)
            self.logits(0)  # waits for the result
            if time.perf_counter() - start > most_s:
                break
        took = time.perf_counter() - start
        self.forget(0)
        return position / took

    def _token_text(self, token: int) -> str:
        return self._text(llama.llama_vocab_get_text(self.vocab, token)) if token >= 0 else ""

    @staticmethod
    def _text(data: bytes | None) -> str:
        return (data or b"").decode(errors="replace")
