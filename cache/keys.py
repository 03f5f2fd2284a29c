"""Which questions are the same question.

A key is a hash over everything that changes the answer, and nothing else. The encoding under the
hash is MessagePack: every value carries its type and its length, so no content can pose as framing,
and 1, 1.0, "1" and true are four values. Keys of objects are sorted, but for what models are given to
read or to follow in its order: the schemas of `format` and `tools`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from cache.entries import CacheKey
from orchestrator.core.errors import BadRequest
from orchestrator.core.types import Caller, ChatRequest, Done, Model

# Changes with the encoding, so that an older key never means a newer question.
VERSION = 6

# What a template has to say to write the date into a prompt, which is another one tomorrow.
DATED = re.compile("currentDate|yesterdayDate")

IN_KEY = frozenset(
    {
        "messages",
        "prompt",
        "suffix",
        "template",
        "inputs",
        "context",
        "tools",
        "format",
        "think",
        "options",  # but see OPTIONS_NOT_IN_KEY
        "logprobs",
        "top_logprobs",
        "truncate",
        "shift",
        "namespace",
    }
)
NOT_IN_KEY = frozenset(
    {
        "model",  # the resolved model's name and digest stand for it
        "stream",  # these change the delivery, not the answer
        "keep_alive_s",
        "control",
        "ignored",  # nothing comes of it
        "tags",
        "dialect",
        "endpoint",  # but of engines that are asked in the same way and tell token ids only so: see keys_for
        "request_id",
        "address",
        "turn",
    }
)

OPTIONS_IN_KEY = frozenset(
    {
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "repeat_last_n",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "stop",
        "num_ctx",  # where the conversation is cut
        "num_keep",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
        "tfs_z",
        "penalize_newline",
    }
)
OPTIONS_NOT_IN_KEY = frozenset(
    {
        "num_predict",  # has a key of its own: see keys_for
        "num_batch",  # the rest is about speed and memory
        "num_gpu",
        "main_gpu",
        "num_thread",
        "use_mmap",
        "use_mlock",
        "low_vram",
        "numa",
        "f16_kv",
        "draft_num_predict",
        "keep_alive",
    }
)


def keys_for(request: ChatRequest, caller: Caller, model: Model) -> tuple[CacheKey, ...]:
    """Return where the answer may be kept: the question's own key, then the one that holds its cap, if it has one.

    An answer that ended by itself is the same under every cap it stays within, so it is kept under
    the question's own key; one that was cut is kept under the second (`key_to_keep`).
    An option this file does not know counts as one that changes the answer.
    """
    question = (
        VERSION,
        # Both: a number means another tenant in another machine's ledger, a name may have been somebody else's once.
        caller.tenant_id,
        caller.tenant,
        request.namespace,
        model.name,
        model.digest,
        model.edition,
        request.messages,
        request.prompt,
        request.suffix,
        request.template,
        _today() if DATED.search(request.template) else "",
        request.inputs,
        request.context,
        _in_order(request.tools),
        _in_order(request.format),
        request.think,
        {
            name: _number(value)
            for name, value in request.options.items()
            if name not in OPTIONS_NOT_IN_KEY and value is not None
        },
        request.logprobs,
        request.top_logprobs,
        request.truncate,
        request.shift,
        "endpoint" in model.takes and request.wants_context,
    )
    digest = blake2b(_encode(question), digest_size=32, person=b"question").hexdigest()
    key = CacheKey(digest, caller.tenant_id, request.namespace, model.name)
    cap = request.cap
    if cap is None:
        return (key,)
    capped = blake2b(f"{digest} {cap}".encode(), digest_size=32, person=b"capped").hexdigest()
    return key, CacheKey(capped, caller.tenant_id, request.namespace, model.name, cap)


def key_to_keep(keys: tuple[CacheKey, ...], done: Done) -> CacheKey | None:
    """Return under which of a question's keys an answer that ended so is kept; None when it must not be.

    What was filtered must not.

    Under the cap's when the cap cut it, or when the engine did not count and so nobody knows which
    other caps it stays within.
    """
    if done.reason not in {"stop", "length"}:
        return None
    usage = done.usage
    ended_by_itself = done.reason == "stop" and usage.completion_tokens > 0 and not usage.is_estimated
    return keys[0] if ended_by_itself else keys[-1]


def _today() -> str:
    """In the zone of the server, as templates write it."""
    return datetime.now().astimezone().date().isoformat()


def _number(value: Any) -> Any:
    """An option's 1.0 is 1; true stays true."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a request.")


_sorted = msgspec.msgpack.Encoder(enc_hook=_plain, order="deterministic")
_as_given = msgspec.msgpack.Encoder(enc_hook=_plain)


def _in_order(value: Any) -> Any:
    """`value` as bytes that hold its order, where it has one: reasons before an answer are not those after it."""
    return _encode(value, _as_given) if value else value


def _encode(value: Any, encoder: msgspec.msgpack.Encoder = _sorted) -> bytes:
    try:
        return encoder.encode(value)
    except (OverflowError, UnicodeEncodeError):
        # JSON also holds whole numbers over 64 bits and lone surrogates, which MessagePack does not.
        builtins = msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_plain)
        return encoder.encode(_wide(builtins, is_sorted=encoder is _sorted))
    except RecursionError:
        raise BadRequest("The request is nested too deep; lists and objects may be some hundreds deep.") from None


def _wide(value: Any, *, is_sorted: bool) -> Any:
    """`value` with what MessagePack cannot hold in extension types, so that it is still no other value's twin."""
    if isinstance(value, dict):
        # Pairs, because an extension type cannot be a key.
        pairs = [
            (key.encode("utf-8", "surrogatepass"), _wide(item, is_sorted=is_sorted)) for key, item in value.items()
        ]
        return msgspec.msgpack.Ext(1, _as_given.encode(sorted(pairs) if is_sorted else pairs))
    if isinstance(value, list | tuple):
        return [_wide(item, is_sorted=is_sorted) for item in value]
    if isinstance(value, str):
        return msgspec.msgpack.Ext(2, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return msgspec.msgpack.Ext(3, str(value).encode())
    return value
