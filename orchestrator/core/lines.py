"""A list of words in a form, one a line."""

from __future__ import annotations

from typing import Any

from django import forms


class Lines(forms.CharField):
    """What is typed line by line is a list; also for a column of JSON."""

    widget = forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField lines", "spellcheck": "false"})

    def __init__(self, *, encoder: object = None, decoder: object = None, **options: Any) -> None:
        """`encoder` and `decoder` come from such a column; lines need neither."""
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        """As it is typed."""
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        """The lines that say something."""
        return _lines(super().clean(value) or "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compared as lists."""
        was = _lines(initial) if isinstance(initial, str) else list(initial or [])
        return bool(was != self.clean(data))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
