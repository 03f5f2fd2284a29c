"""Choosing the next token: llama.cpp's samplers in Ollama's order, and a grammar beside them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

from orchestrator.core.types import TokenLogprob
from orchestrator.modelhost.grammar import invalid
from orchestrator.modelhost.llama import Llama
from orchestrator.modelhost.options import Options

LIKELIEST = 2048  # tokens; the rest of a vocabulary has next to no share
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Sampler:
    """The choices of one answer. `close` frees what it holds."""

    def __init__(self, model: Llama, options: Options, grammar: str | None) -> None:
        self._model = model
        self._chain: Any = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        self._grammar: Any = None
        if grammar is not None:
            self._grammar = llama.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
            if not self._grammar:
                self.close()
                raise invalid("no grammar can be made of it")
        self._last_n = model.context if options.repeat_last_n < 0 else min(options.repeat_last_n, model.context)
        self._penalises = self._last_n > 0 and (
            options.repeat_penalty != 1.0 or options.presence_penalty != 0.0 or options.frequency_penalty != 0.0
        )
        for sampler in self._samplers(options):
            llama.llama_sampler_chain_add(self._chain, sampler)

    def _samplers(self, options: Options) -> Iterable[Any]:
        if self._penalises:
            yield llama.llama_sampler_init_penalties(
                self._model.vocabulary,
                self._last_n,
                options.repeat_penalty,
                options.frequency_penalty,
                options.presence_penalty,
            )
        if options.temperature == 0:
            yield llama.llama_sampler_init_greedy()
            return
        if options.top_k > 0:
            yield llama.llama_sampler_init_top_k(options.top_k)
        if options.typical_p < 1:
            yield llama.llama_sampler_init_typical(options.typical_p, 1)
        if options.top_p < 1:
            yield llama.llama_sampler_init_top_p(options.top_p, 1)
        if options.min_p > 0:
            yield llama.llama_sampler_init_min_p(options.min_p, 1)
        yield llama.llama_sampler_init_temp(options.temperature)
        yield llama.llama_sampler_init_dist(options.sampler_seed())

    def prime(self, prompt: list[int]) -> None:
        """Let the penalties know what the prompt said."""
        if self._penalises:
            for token in prompt[-self._last_n :]:
                llama.llama_sampler_accept(self._chain, token)

    def sample(self, index: int, *, is_free: bool) -> int:
        """The next token after the batch's token at `index`; `is_free` leaves the grammar out of it.

        Raises ValueError when the grammar allows none.
        """
        if self._grammar is None or is_free:
            return int(llama.llama_sampler_sample(self._chain, self._model.pointer, index))
        token = self._allowed(index)
        llama.llama_sampler_accept(self._chain, token)
        llama.llama_sampler_accept(self._grammar, token)
        return token

    def _allowed(self, index: int) -> int:
        """A token the grammar allows. Asking it about the whole vocabulary is slow, and the likely choice is
        mostly allowed: so it is asked about that one, then about the likeliest, then about all.
        """
        token = self._choose(self._candidates(index))
        for most in (LIKELIEST, self._model.vocabulary):
            if self._allows(token):
                return token
            candidates = self._candidates(index, most)
            llama.llama_sampler_apply(self._grammar, ctypes.byref(candidates[0]))
            token = self._choose(candidates)
        # llama.cpp chooses something even when nothing is allowed, and ends the process when it is told of that.
        if not self._allows(token):
            raise ValueError("nothing the model can write keeps to the format any more; make the schema less strict")
        return token

    def _candidates(self, index: int, most: int | None = None) -> tuple[Any, Any]:
        logits = self._model.logits(index)
        if most is None or most >= len(logits):
            tokens = np.arange(len(logits), dtype=np.int32)
        else:
            tokens = np.argpartition(logits, -most)[-most:].astype(np.int32)
        table = np.empty(len(tokens), dtype=_CANDIDATE)
        table["id"] = tokens
        table["logit"] = logits[tokens]
        table["p"] = 0
        return _array(table), table  # the second keeps the memory of the first

    def _choose(self, candidates: tuple[Any, Any]) -> int:
        array, _ = candidates
        llama.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _allows(self, token: int) -> bool:
        table = np.array([(token, 0.0, 0.0)], dtype=_CANDIDATE)
        array = _array(table)
        llama.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return bool(table["logit"][0] != -np.inf)

    def close(self) -> None:
        """Give the memory back."""
        if self._chain:
            llama.llama_sampler_free(self._chain)
        if self._grammar:
            llama.llama_sampler_free(self._grammar)
        self._chain = self._grammar = None


def _array(table: Any) -> Any:
    pointer = table.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
    return llama.llama_token_data_array(data=pointer, size=len(table), selected=-1, sorted=False)


def logprob(model: Llama, index: int, token: int, top: int) -> TokenLogprob:
    """How likely `token` was after the batch's token at `index`, and the `top` likeliest ones.

    Natural logarithms, before temperature and the like, over the whole vocabulary.
    """
    logits = model.logits(index).astype(np.float64)
    peak = logits.max()
    logs = logits - (peak + np.log(np.exp(logits - peak).sum()))

    def one(which: int) -> TokenLogprob:
        piece = model.piece(which)
        return TokenLogprob(token=piece.decode(errors="replace"), logprob=float(logs[which]), bytes=tuple(piece))

    said = one(token)
    if not top:
        return said
    likeliest = np.argpartition(logs, -top)[-top:]
    order = likeliest[np.argsort(-logs[likeliest])]
    return TokenLogprob(
        token=said.token, logprob=said.logprob, bytes=said.bytes, top=tuple(one(int(which)) for which in order)
    )
