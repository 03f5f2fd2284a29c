"""The forms that accounts come in, how each is recognised, and reading a file of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from orchestrator.core.errors import BadRequest, RequestTooLarge
from orchestrator.core.text import escaped
from orchestrator.invoices import anthropic, openai, openrouter, pages, tables
from orchestrator.invoices.account import LONGEST_MODEL, LONGEST_REF, MOST_BYTES, MOST_DAYS, Account, Line
from orchestrator.invoices.cells import Cells
from orchestrator.invoices.pages import Found

HALF_A_CENT = Decimal("0.005")
A_BILLIONTH = Decimal("0.000000001")  # whoever adds up binary fractions is off by less


class Form(NamedTuple):
    """A form. One of JSON has results under spans of time, or else its lines are the objects themselves.

    needs    the columns, or the fields of each result
    rounded  by how much the cost of a line may be off, in dollars
    span     what names the begin and end of a span
    """

    name: str
    title: str
    needs: tuple[str, ...]
    row: Callable[[int, Cells], Line] | None = None
    result: Callable[[int, str, Found, Found], Line] | None = None
    span: tuple[str, str] | None = None
    rounded: Decimal = A_BILLIONTH

    @property
    def provider(self) -> str:
        """Whose it is; empty: anybody's."""
        return self.name.partition("-")[0] if "-" in self.name else ""

    @property
    def tells_money(self) -> bool:
        """Whether it is an account of money alone, which no second one adds to; use is told by kind of endpoint."""
        return "-cost" in self.name

    @property
    def account(self) -> str:
        """What it is an account of. Two files of one, about the same days, say the same twice."""
        return self.name.removesuffix("-csv").removesuffix("-json")


def _generic(number: int, row: Cells) -> Line:
    if row.text("currency", LONGEST_REF):
        row.must_be_usd("currency")
    ref = row.text("ref", LONGEST_REF)
    return Line(
        number=number,
        day=row.day("day"),
        model=row.text("model", LONGEST_MODEL),
        ref=ref,
        requests=1 if ref else row.count("requests"),
        prompt_tokens=row.count("input_tokens"),
        completion_tokens=row.count("output_tokens"),
        cached_tokens=row.count("cached_tokens"),
        cache_write_tokens=row.count("cache_write_tokens"),
        cost_usd=row.usd("cost_usd"),
    )


_OPENAI, _ANTHROPIC = (openai.BEGIN, openai.END), (anthropic.BEGIN, anthropic.END)
FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            "openai-costs-csv",
            "OpenAI, costs, as CSV",
            (openai.BEGIN, "amount_value", "amount_currency"),
            row=openai.cost_row,
        ),
        Form("openai-costs-json", "OpenAI, costs, from the API", ("amount",), result=openai.cost_result, span=_OPENAI),
        Form(
            "openai-usage-csv",
            "OpenAI, usage, as CSV",
            (openai.BEGIN, "num_model_requests", "input_tokens"),
            row=openai.usage_row,
        ),
        Form(
            "openai-usage-json",
            "OpenAI, usage, from the API",
            ("num_model_requests", "input_tokens"),
            result=openai.usage_result,
            span=_OPENAI,
        ),
        Form(
            "anthropic-cost-csv",
            "Anthropic, cost, as CSV",
            ("usage_date_utc", "model", "token_type", "cost_usd"),
            row=anthropic.cost_row,
            rounded=HALF_A_CENT,
        ),
        Form(
            "anthropic-cost-json",
            "Anthropic, cost, from the API",
            ("amount", "currency"),
            result=anthropic.cost_result,
            span=_ANTHROPIC,
        ),
        Form(
            "anthropic-usage-csv",
            "Anthropic, usage, as CSV",
            (
                "usage_date_utc",
                "model_version",
                anthropic.UNCACHED,
                anthropic.WRITTEN_5M,
                anthropic.WRITTEN_1H,
                anthropic.READ,
                anthropic.OUT,
            ),
            row=anthropic.usage_row,
        ),
        Form(
            "openrouter-csv",
            "OpenRouter, each call, as CSV",
            ("generation_id", "created_at", "cost_total", "tokens_prompt", "tokens_completion", "model_permaslug"),
            row=openrouter.row,
        ),
        Form(
            "openrouter-json",
            "OpenRouter, activity, from the API",
            ("date", "usage", "requests", "prompt_tokens", "completion_tokens"),
            result=openrouter.activity,
        ),
        Form("csv", "Any other, as CSV", ("day", "model", "cost_usd"), row=_generic),
    )
}


def read(content: bytes, form: str | None = None, first: date | None = None, last: date | None = None) -> Account:
    """The account in a file. Raises BadRequest with the line and what is wrong, RequestTooLarge.

    form         its name; None: recognised by the file's header
    first, last  the days it was asked for; None: those of its first and last line. Where nothing was used, some forms
                 have no line
    """
    if len(content) > MOST_BYTES:
        raise RequestTooLarge(f"A file may have {MOST_BYTES // 1024**2} MB at most; export a shorter time.")
    if form is not None and form not in FORMS:
        raise BadRequest(f"form: there is none called {escaped(form[:LONGEST_REF])!r}; there are {', '.join(FORMS)}.")
    text = _text(content)
    if text.lstrip()[:1] in ("{", "["):
        chosen, found = _of_json(text, form)
    else:
        chosen, found = _of_csv(text, form)
    lines = tuple(found)
    begin, end = _days(lines, first, last)
    return Account(chosen.name, begin, end, tuple(line for line in lines if line.tells))


def _days(lines: Sequence[Line], first: date | None, last: date | None) -> tuple[date, date]:
    days = {line.day for line in lines}
    if not days and (first is None or last is None):
        raise BadRequest("There is no line in it, so it is about no day; say from when and until when it is.")
    begin, end = first or min(days), last or max(days)
    if begin > end:
        raise BadRequest(f"It cannot begin on {begin} and end on {end}.")
    if wrong := next((line for line in lines if not begin <= line.day <= end), None):
        raise BadRequest(f"line {wrong.number}: it is of {wrong.day}, which is not from {begin} to {end}.")
    if (end - begin).days >= MOST_DAYS:
        raise BadRequest(f"It is about {begin} to {end}, more than {MOST_DAYS} days; export a shorter time.")
    return begin, end


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest("It is not UTF-8; save it as CSV in UTF-8.") from None
    if "\0" in text:
        raise BadRequest("It is no text: it holds a zero byte.")
    if not text.strip():
        raise BadRequest("There is nothing in the file.")
    return text


def _of_csv(text: str, wanted: str | None) -> tuple[Form, Iterator[Line]]:
    columns = set(tables.header(text))
    form = _chosen([form for form in FORMS.values() if form.row], columns, wanted, "column")
    assert form.row is not None
    row = form.row
    return form, (row(number, cells) for number, cells in tables.lines(text))


def _of_json(text: str, wanted: str | None) -> tuple[Form, Iterator[Line]]:
    found = pages.items(text)
    if any("results" in one for _, one in found):
        spans = pages.results(found)
        fields = {name for _, _, inner in spans for one in inner[:1] for name in one}
        begin = {name for _, span, _ in spans for name in span}
        fitting = [form for form in FORMS.values() if form.span and form.span[0] in begin]
        form = _chosen(fitting, fields, wanted, "field")
        assert form.span is not None
        pages.must_be_whole(spans, *form.span, has_one_each=form.tells_money)
        return form, _lines_of(form, spans)
    fields = {name for _, one in found[:1] for name in one}
    form = _chosen([form for form in FORMS.values() if form.result and not form.span], fields, wanted, "field")
    pages.must_be_once(found)
    return form, _lines_of(form, [(place, one, [one]) for place, one in found])


def _lines_of(form: Form, spans: Sequence[tuple[str, Found, list[Found]]]) -> Iterator[Line]:
    """A span without a result tells that nothing was used on its day."""
    assert form.result is not None
    number = 0
    for where, span, inner in spans:
        if form.span and not inner:
            yield Line(number=number, day=Cells(where, span).day_of_span(*form.span))
        for place, one in enumerate(inner):
            number += 1
            at = f"{where}, results[{place}]" if form.span else where
            _must_have(form, set(one), f"{at}: ")
            yield form.result(number, at, span, one)


def _chosen(forms: Sequence[Form], there: set[str], wanted: str | None, what: str) -> Form:
    """The form that was asked for, or that fits. Raises BadRequest, naming what is missing from it or the nearest."""
    if wanted is not None:
        form = next((form for form in forms if form.name == wanted), None)
        if form is None:
            raise BadRequest(f"It is no {wanted}: that comes {'as CSV' if FORMS[wanted].row else 'as pages of JSON'}.")
        if what == "column" or there:
            _must_have(form, there, "", what)
        return form
    fitting = [form for form in forms if there.issuperset(form.needs)]
    if fitting:
        return max(fitting, key=lambda form: len(form.needs))
    if not there and forms:
        raise BadRequest(f"Nothing was used, so its form is not seen; say which: {_names(forms)}.")
    near = max(forms, key=lambda form: len(there.intersection(form.needs)) / len(form.needs), default=None)
    if near is None or not there.intersection(near.needs):
        raise BadRequest(f"Its form is none of those that are read: {_names(forms or tuple(FORMS.values()))}.")
    _must_have(near, there, "Its form is none of those that are read. The nearest: ", what)
    return near


def _must_have(form: Form, there: set[str], before: str, what: str = "field") -> None:
    missing = [name for name in form.needs if name not in there]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise BadRequest(f"{before}{form.name} lacks the {what}{plural} {', '.join(missing)}.")


def _names(forms: Sequence[Form]) -> str:
    return ", ".join(form.name for form in forms)
