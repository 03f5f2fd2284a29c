"""What stands in a file is read to the last digit, or refused with its place."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import BadRequest, RequestTooLarge
from orchestrator.invoices import account, forms
from orchestrator.invoices.forms import FORMS, read
from tests.invoices.exports import openai_costs_csv, some_calls

DAY = date(2026, 3, 1)
COSTS = "start_time,end_time,amount_value,amount_currency,line_item\n"
GENERIC = "day,model,cost_usd,input_tokens\n"


def costs(*results: object, **page: object) -> bytes:
    """A page of a day of OpenAI's costs."""
    return json.dumps(
        {"data": [{"start_time": 1772323200, "end_time": 1772409600, "results": results}]} | page
    ).encode()


ACTIVITY = json.dumps(
    {
        "data": [
            {
                "date": "2026-03-01",
                "model": "openai/gpt-4o",
                "usage": 1.5,
                "requests": 3,
                "prompt_tokens": 10,
                "completion_tokens": 5,
            }
        ]
    }
)


def dollars(value: object) -> dict[str, object]:
    return {"amount": {"value": value, "currency": "usd"}, "line_item": "gpt-4o-2024-08-06, input"}


def refusal(content: bytes | str, form: str | None = None) -> str:
    with pytest.raises(BadRequest) as refused:
        read(content if isinstance(content, bytes) else content.encode(), form)
    return str(refused.value)


@pytest.mark.parametrize(
    "written",
    ["0.8958740000000000", "0.000000000000000000000000000001", "1e-05", "1.5E+2", "-0.25", ".5", "3.", " 7 "],
)
def test_amounts_are_read_to_the_last_digit(written: str) -> None:
    (line,) = read(f"{COSTS}1772323200,1772409600,{written},usd,\n".encode()).lines
    assert line.cost_usd == Decimal(written.strip())
    assert (line.day, line.model, line.kind) == (DAY, "", "all")


def test_amounts_of_json_are_numbers_or_text_and_never_binary_fractions() -> None:
    content = costs(dollars(0.1), dollars("0.06000000000000000500")).replace(b"0.1,", b"0.1000000000000000055511151,")
    costs_read = [line.cost_usd for line in read(content).lines]
    assert costs_read == [Decimal("0.1000000000000000055511151"), Decimal("0.060000000000000005")]


def test_days_without_use_are_days_of_the_account() -> None:
    found = read(f"{COSTS}1772323200,1772409600,,,\n1772409600,1772496000,0.5,usd,\n1772496000,,,,\n".encode())
    assert (found.first_day, found.last_day, len(found.lines)) == (DAY, date(2026, 3, 3), 1)
    empty = read(costs(), "openai-costs-json")
    assert (empty.first_day, empty.last_day, empty.lines) == (DAY, DAY, ())


def test_an_account_may_be_about_more_days_than_have_lines() -> None:
    content = f"{GENERIC}2026-03-05,m,1,\n".encode()
    found = read(content, first=DAY, last=date(2026, 3, 31))
    assert (found.first_day, found.last_day) == (DAY, date(2026, 3, 31))
    with pytest.raises(BadRequest, match=r"line 2: it is of 2026-03-05, which is not from 2026-03-06 to"):
        read(content, first=date(2026, 3, 6), last=date(2026, 3, 31))
    with pytest.raises(BadRequest, match="cannot begin"):
        read(content, first=date(2026, 3, 6), last=DAY)


def test_marks_line_ends_and_line_breaks_in_quotes_change_nothing() -> None:
    plain = openai_costs_csv(some_calls(Random(3), ["a", "b"], has_cache_writes=False))
    assert plain.startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in plain
    bare = plain.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    assert [line.cost_usd for line in read(plain).lines] == [line.cost_usd for line in read(bare).lines]
    told = refusal(f'{GENERIC}2026-03-01,"a\nb",1,\n\n2026-03-01,m,x,\n')
    assert told == "line 5: cost_usd 'x' is no number."


def test_cents_are_cents() -> None:
    result = {"currency": "USD", "amount": "123.45", "model": None, "cost_type": "web_search", "token_type": None}
    span = {"starting_at": "2026-03-01T00:00:00Z", "ending_at": "2026-03-02T00:00:00Z", "results": [result]}
    (line,) = read(json.dumps({"data": [span], "has_more": False}).encode()).lines
    assert (line.cost_usd, line.model, line.kind) == (Decimal("1.2345"), "web_search", "other")


def test_a_broken_off_call_with_ones_own_key_costs_both() -> None:
    header = (
        "generation_id,created_at,cost_total,byok_usage_inference,tokens_prompt,tokens_completion,model_permaslug,"
        "variant,cancelled"
    )
    content = f"{header}\ngen-1,2026-03-01T23:59:59.9Z,0.001,0.02,10,0,v/m,free,true\n"
    (line,) = read(content.encode()).lines
    assert (line.cost_usd, line.model, line.ref, line.day) == (Decimal("0.021"), "v/m:free", "gen-1", DAY)


def test_a_moment_counts_in_utc() -> None:
    (line,) = read(f"{GENERIC}2026-03-02T01:30:00+02:00,m,1,\n".encode()).lines
    assert line.day == DAY


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "nothing in the file"),
        ("\ufeff \n", "nothing in the file"),
        (b"\xff\xfed\x00a\x00y\x00", "not UTF-8"),
        ("day,model\0,cost_usd\n", "zero byte"),
        ("name,colour\n", "Its form is none of those that are read: openai-costs-csv"),
        ("day,model,cost\n", "The nearest: csv lacks the column cost_usd."),
        ("start_time,num_model_requests\n", "openai-usage-csv lacks the column input_tokens."),
        (
            "generation_id,created_at,cost_total\n",
            "lacks the columns tokens_prompt, tokens_completion, model_permaslug",
        ),
        ("day,model,cost_usd,day\n", "two columns 'day'"),
        (GENERIC, "no line in it"),
        (f"{GENERIC}2026-03-01,m,1\n", "line 2: it has 3 cells, and the header 4."),
        (f'{GENERIC}2026-03-01,"m,1,2\n', "line 2: it is no CSV"),
        (f"{GENERIC}yesterday,m,1,2\n", "line 2: day 'yesterday' is no day or moment."),
        (f"{GENERIC}1999-01-01,m,1,2\n", "is not of the years"),
        (f"{GENERIC},m,1,2\n", "line 2: day is no day or moment."),
        (f"{GENERIC}2026-03-01,m,NaN,2\n", "cost_usd 'NaN' is no number"),
        (f"{GENERIC}2026-03-01,m,Infinity,2\n", "is no number"),
        (f'{GENERIC}2026-03-01,m,"1,234.50",2\n', "is no number"),
        (f"{GENERIC}2026-03-01,m,$1,2\n", "is no number"),
        (f"{GENERIC}2026-03-01,m,1e99,2\n", "is beyond what is read"),
        (f"{GENERIC}2026-03-01,m,1e-40,2\n", "is beyond what is read"),
        (f"{GENERIC}2026-03-01,m,1,2.5\n", "input_tokens '2.5' is no count"),
        (f"{GENERIC}2026-03-01,m,1,-1\n", "is no count"),
        (f"{GENERIC}2026-03-01,m,1,1e30\n", "is no count"),
        (f"{GENERIC}2026-03-01,{'m' * 256},1,2\n", "is longer than 255 characters"),
        (f"{GENERIC}2026-03-01,m,1,2\n2028-03-01,m,1,2\n", "more than 400 days"),
        (f"{COSTS}1772323200,1772409600,1,eur,\n", "amount_currency 'eur' is another currency"),
        (f"{COSTS}1772323200,1772409600,1,,\n", "amount_currency is another currency"),
        (f"{COSTS}1772323200,1772496000,1,usd,\n", "end_time '1772496000' is of another day; export it by day"),
        (f"{COSTS}1772323200,1772323200,1,usd,\n", "is not after start_time"),
        ("[]", "nothing in the file"),
        ("{", "line 1: it is no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"data": 3}', "page 1: there is no list of objects under `data`."),
        ('{"data": [3]}', "page 1: there is no list"),
        ('{"data": []}', "say which"),
        ('{"data": [{"start_time": 1772323200, "results": 1}]}', "page 1, data[0]: there is no list of objects"),
        ('{"data": [{"start_time": 1772323200, "results": [{"x": 1}]}]}', "Its form is none of those"),
        (
            costs(dollars(1), {"line_item": "m"}),
            "page 1, data[0], results[1]: openai-costs-json lacks the field amount.",
        ),
        (costs({"amount": {"value": 1, "currency": "EUR"}}), "currency 'EUR' is another currency"),
        (costs({"amount": {"currency": "usd"}}), "page 1, data[0], results[0], amount: value is missing."),
        (costs({"amount": {"value": True, "currency": "usd"}}), "value 'True' is no number"),
        (costs(dollars(1)).replace(b'"value": 1', b'"value": NaN'), "no JSON that can be read"),
        (costs(dollars(1), has_more=True), "has_more"),
        (costs(dollars(1)) + costs(dollars(1)), "page 2, data[0]: it is there twice"),
        (costs(dollars(1)) + costs(dollars(2)), "page 2, data[0]: it is there twice; a page was added twice, or two"),
        (ACTIVITY + ACTIVITY, "page 2, data[0]: it is there twice"),
        (
            costs(dollars(1)) + costs().replace(b"1772409600", b"1772582400").replace(b"1772323200", b"1772496000"),
            "a page is missing",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(content: bytes | str, words: str) -> None:
    assert words in refusal(content)


def test_a_form_that_was_named_is_the_one_that_is_read() -> None:
    assert "openrouter-csv lacks the columns generation_id" in refusal(f"{GENERIC}2026-03-01,m,1,\n", "openrouter-csv")
    assert refusal(f"{GENERIC}2026-03-01,m,1,\n", "openai-costs-json").startswith("It is no openai-costs-json")
    assert "there is none called 'x'" in refusal(GENERIC, "x")
    assert read(f"{GENERIC}2026-03-01,m,1,\n".encode(), "csv").form == "csv"


def test_no_two_forms_are_recognised_by_the_same_header() -> None:
    for form in FORMS.values():
        if form.row:
            content = f"{','.join(form.needs)}\n".encode()
            fitting = [one.name for one in FORMS.values() if one.row and set(form.needs) >= set(one.needs)]
            assert fitting == [form.name]
            assert forms._of_csv(content.decode(), None)[0] is form


def test_more_than_is_read_at_a_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestTooLarge):
        read(b"x" * (account.MOST_BYTES + 1))
    monkeypatch.setattr("orchestrator.invoices.tables.MOST_LINES", 2)
    monkeypatch.setattr("orchestrator.invoices.pages.MOST_LINES", 2)
    row = "2026-03-01,m,1,\n"
    assert len(read(f"{GENERIC}{row * 2}".encode()).lines) == 2
    assert "more than 2 lines" in refusal(GENERIC + row * 3)
    assert "more than 2 lines" in refusal(costs(*(dollars(number) for number in range(3))))


def test_names_are_harmless_wherever_they_are_shown() -> None:
    (line,) = read(f"{GENERIC}2026-03-01,a\x1b[31mb\u202e,1,\n".encode()).lines
    assert line.model == r"a\x1b[31mb\u202e"


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: (GENERIC + text).encode())))
def test_whatever_is_sent_is_read_or_refused(content: bytes) -> None:
    with suppress(BadRequest):
        assert read(content).lines is not None
