"""Go's template language, as far as chat templates use it."""

import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.modelhost.gotemplate import functions
from orchestrator.modelhost.gotemplate.functions import JSONList, JSONMap, Struct
from orchestrator.modelhost.gotemplate.running import run
from orchestrator.modelhost.gotemplate.syntax import DEEPEST, LONGEST_SOURCE, TemplateError, parse

TURNS = [Struct({"Role": role, "Content": text}, {"role": role}) for role, text in [("user", "a"), ("assistant", "b")]]
VALUES: dict[str, Any] = {
    "System": "be brief",
    "Empty": "",
    "Zero": 0,
    "Half": 0.5,
    "Yes": True,
    "List": ["x", "y", "z"],
    "Map": {"b": 2, "a": 1},
    "Messages": TURNS,
    "Arguments": JSONMap({"z": "<&>", "a": [1, None]}),
    "Tools": JSONList([Struct({"Name": "f"}, {"name": "f"})]),
    "Umlaut": "äb",
}


def said(source: str, values: dict[str, Any] = VALUES) -> str:
    return run(parse(source), values)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain } text {", "plain } text {"),
        ("{{ .System }}", "be brief"),
        ("{{.System}}|{{ .Nothing }}|{{ .Map.a }}|{{ .Map.c }}", "be brief|<no value>|1|<no value>"),
        ("a \n {{- .Zero -}} \t\n b", "a0b"),
        ("a {{ .Zero -}} b{{- 1 }}{{-2}}", "a 0b1-2"),
        ("a{{/* no */}}b {{- /* }} \n no */ -}} c", "abc"),
        ("{{ if .System }}y{{ else }}n{{ end }}{{ if .Empty }}y{{ else }}n{{ end }}", "yn"),
        ("{{ if .Empty }}1{{ else if .Zero }}2{{ else if .Yes }}3{{ else }}4{{ end }}!", "3!"),
        ("{{ with .System }}{{ . }}{{ end }}", "be brief"),
        ("{{ with .Empty }}x{{ else with .Yes }}{{ . }}{{ else }}y{{ end }}", "true"),
        ("{{ range .List }}{{ . }},{{ end }}{{ range .Empty2 }}x{{ else }}none{{ end }}", "x,y,z,none"),
        ("{{ range $i, $x := .List }}{{ $i }}{{ $x }}{{ $.Zero }}{{ end }}", "0x01y02z0"),
        ("{{ range $x := .List }}{{ $x }}{{ end }}{{ range $k, $v := .Map }}{{ $k }}{{ $v }}{{ end }}", "xyza1b2"),
        ("{{ range $k, $v := .Arguments }}{{ $k }}={{ $v }};{{ end }}", "z=<&>;a=[1 <no value>];"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range .List }}{{ if eq . `y` }}{{ continue }}{{ end }}{{ . }}{{ end }}", "xz"),
        ("{{ range .List }}{{ . }}{{ if eq . `y` }}{{ break }}{{ end }}{{ end }}", "xy"),
        ("{{ $x := 1 }}{{ if .Yes }}{{ $x = 2 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }}", "32"),
        ("{{ $x := 1 }}{{ if .Yes }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ range .Messages }}{{ .Role }}:{{ .Content }} {{ end }}", "user:a assistant:b "),
        ("{{ (index .Messages 1).Role }}{{ index .List 0 }}{{ index .Map `b` }}{{ index .Umlaut 2 }}", "assistantx298"),
        ("{{ slice .List 1 }}{{ slice .List 1 2 }}{{ slice `hello` 1 3 }}{{ slice .Umlaut 2 }}", "[y z][y]elb"),
        ("{{ len .List }}{{ len .Umlaut }}{{ len .Map }}{{ len .Empty }}", "3320"),
        ("{{ range $i, $_ := .Messages }}{{ eq (len (slice $.Messages $i)) 1 }} {{ end }}", "false true "),
        ("{{ and .System .Zero }}{{ and 1 2 }}{{ or .Empty .Zero `z` }}{{ or 0 0.0 }}{{ not .Yes }}", "02z0false"),
        ("{{ or .Yes (index .List 9) }}{{ and .Zero (index .List 9) }}", "true0"),
        ("{{ eq 1 2 1 }} {{ ne `a` `b` }} {{ eq nil .Nothing }} {{ eq .Zero .Nothing }}", "true true true false"),
        ("{{ lt 1 2 }} {{ le 2 2 }} {{ gt `b` `a` }} {{ ge 1 2 }}", "true true true false"),
        ("{{ .System | printf `%s-%d` | print 1 }}", "1be brief-%!d(MISSING)"),
        ('{{ printf `%q %v %t %% %c %x` `a"` .List true 97 `hi` }}', '"a\\"" [x y z] true % a 6869'),
        ("{{ printf `%5d|%-5s|%05d|%+d|%.2f|%x|%X` 42 `ab` 42 7 .Half 255 255 }}", "   42|ab   |00042|+7|0.50|ff|FF"),
        ("{{ printf `%d %y` `a` 1 }}", "%!d(a) %!y(1)"),
        ("{{ print 1 2 `a` 3 }}{{ println `a` 1 }}", "1 2a3a 1\n"),
        ("{{ json .Arguments }}", r'{"z":"\u003c\u0026\u003e","a":[1,null]}'),
        ("{{ .Arguments }}", r'{"z":"\u003c\u0026\u003e","a":[1,null]}'),
        ("{{ .Tools }}{{ .Map }}{{ .List }}", '[{"name":"f"}]map[a:1 b:2][x y z]'),
        ("{{ json .Messages }}{{ json nil }}", '[{"role":"user"},{"role":"assistant"}]null'),
        (r'{{ "a\tb\"\u00e9\x41\101" }}{{ `raw\n` }}', 'a\tb"éAAraw\\n'),
        ("{{ 'a' }} {{ 1_000 }} {{ 0x1f }} {{ -2.50 }} {{ 1e3 }} {{ 1e30 }}", "97 1000 31 -2.5 1000 1e+30"),
        ("{{ $ | len }}", str(len(VALUES))),
        ("{{ if not (and (eq .System `x`) .Yes) }}ok{{ end }}", "ok"),
        ("{{ (.Map).a }}{{ ($x := 5) }}{{ $x }}", "155"),
    ],
)
def test_it_means_what_go_means(source: str, text: str):
    assert said(source) == text


def test_dates_are_days():
    today = datetime.datetime.now().astimezone().date()
    assert said("{{ currentDate }} {{ currentDate `x` | printf `%s` }}").split()[0] in {
        today.isoformat(),
        (today + datetime.timedelta(days=1)).isoformat(),
    }
    assert said("{{ lt yesterdayDate currentDate }}") == "true"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ if }}", "line 1, column 4: a value is missing"),
        ("one\ntwo {{ .A", "line 2, column 5: the action is not closed"),
        ("{{ if .A }}", "a block is not ended"),
        ("{{ end }}", "unexpected end"),
        ("{{ else }}", "unexpected else"),
        ("{{ if .A }}{{ else }}{{ else }}{{ end }}", "a second else"),
        ("{{ if .A }}{{ end .B }}", "unexpected '.B'"),
        ("{{}}", "the action is empty"),
        ("{{ /* a }}", "the comment is not closed"),
        ("{{ nope .A }}", "function 'nope' is not known"),
        ("{{ $x }}", "undefined variable '$x'"),
        ("{{ $x = 1 }}", "undefined variable '$x'"),
        ("{{ if .A }}{{ $x := 1 }}{{ end }}{{ $x }}", "undefined variable '$x'"),
        ("{{ $x := 1 }}{{ $x.a := 1 }}", "a field cannot be set"),
        ("{{ .A .B }}", "only a function takes arguments"),
        ("{{ .A | .B }}", "only a function takes what is piped to it"),
        ("{{ (.A }}", "a parenthesis is not closed"),
        ("{{ .A ) }}", "unexpected ')'"),
        ("{{ .A := 1 }}", "unexpected ':='"),
        ("{{ .A, .B }}", "unexpected ','"),
        ("{{ # }}", "unexpected '#'"),
        ('{{ "a }}', "unexpected '\"'"),
        (r'{{ "\N{BULLET}" }}', "an escape that is not known"),
        (r'{{ "\ud800" }}', "a text that cannot be read"),
        (r'{{ "\U00110000" }}', "a text that cannot be read"),
        ("{{ 'ab' }}", "a character that is not one"),
        ("{{ 010 }}", "a number that cannot be read"),
        (f"{{{{ {'9' * 5000} }}}}", "a number that"),
        (f"{{{{ {2**63} }}}}", "a number that is too large"),
        ("{{ break }}", "break outside of range"),
        ("{{ range .A }}{{ else }}{{ continue }}{{ end }}", "continue outside of range"),
        ('{{ template "x" }}', "template is not supported"),
        ('{{ define "x" }}{{ end }}', "define is not supported"),
        ("{{ (" * 3, "unexpected '{'"),
        ("{{ " + "(" * (DEEPEST + 1) + " }}", "nested too deep"),
        ("{{ if .A }}" * (DEEPEST + 1), "nested too deep"),
        ("{{ if .A }}" + "{{ else if .A }}" * DEEPEST, "nested too deep"),
        ("".join(f"{{{{ $x{i} := 1 }}}}" for i in range(300)), "too many variables"),
        ("x" * (LONGEST_SOURCE + 1), "longer than"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(source: str, words: str):
    with pytest.raises(TemplateError, match=r"^template: line \d+, column \d+: ") as caught:
        parse(source)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("\n {{ .System.Foo }}", "line 2, column 5: there is no field 'Foo'"),
        ("{{ range .Messages }}{{ .Foo }}{{ end }}", "there is no field 'Foo'"),
        ("{{ .Nothing.Foo }}", "there is no field 'Foo'"),
        ("{{ range .System }}{{ end }}", "range needs"),
        ("{{ range .Half }}{{ end }}", "range needs"),
        ("{{ index .List 3 }}", "3 is out of range"),
        ("{{ index .List -1 }}", "-1 is out of range"),
        ("{{ index .List true }}", "a place is a whole number"),
        ("{{ index .Zero 1 }}", "cannot be indexed"),
        ("{{ slice .List 2 1 }}", "2 is out of range"),
        ("{{ slice .List 0 1 2 }}", "two places"),
        ("{{ slice .Zero }}", "cannot be cut"),
        ("{{ len .Zero }}", "it has no length"),
        ("{{ len }}", "cannot be called like this"),
        ("{{ len .List .List }}", "cannot be called like this"),
        ("{{ eq 1 `a` }}", "cannot be compared"),
        ("{{ eq .List .List }}", "only texts and numbers"),
        ("{{ eq 1 }}", "needs something to compare"),
        ("{{ lt 1 `a` }}", "no order"),
        ("{{ lt true false }}", "no order"),
        ("{{ and }}", "and needs a value"),
        ("{{ printf 1 }}", "begins with a text"),
        ("{{ printf `%9999d` 1 }}", "fills up to"),
        (f"{{{{ printf `{'%%' * 101}` }}}}", "100 verbs at most"),
        ("{{ if or .Yes ($x := 1) }}{{ $x }}{{ end }}", "$x has no value here"),
    ],
)
def test_what_cannot_be_run_is_named_with_its_place(source: str, words: str):
    with pytest.raises(TemplateError, match=r"^template: line \d+, column \d+: ") as caught:
        said(source)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ range 9223372036854775807 }}{{ end }}",
        "{{ range 100000 }}{{ range 100000 }}x{{ end }}{{ end }}",
        "{{ $x := `ab` }}{{ range 1000000 }}{{ $x = print $x $x }}{{ end }}",
        "{{ $x := `ab` }}{{ range 1000000 }}{{ $x = printf `%s%s%s` $x $x $x }}{{ end }}",
        "{{ range 1000000 }}{{ $.Long }}{{ end }}",
        f"{{{{ range 1000000 }}}}{{{{ $x := or {'0 ' * 30_000} }}}}{{{{ end }}}}",
        "{{ range 1000000 }}{{ range $.Map }}{{ break }}{{ end }}{{ end }}",
        "{{ range 1000000 }}{{ len (json $.Long) }}{{ end }}",
        "{{ range 1000000 }}{{ if eq $.Long $.Longer }}{{ end }}{{ end }}",
        "{{ range 1000000 }}{{ $x := slice $.List 1 }}{{ end }}",
        "{{ range 1000000 }}{{ len (json $.List) }}{{ end }}",
    ],
)
def test_it_ends_however_much_it_is_told_to_do(source: str):
    long = "x" * 1_000_000
    with pytest.raises(TemplateError, match=r"too many steps|too long"):
        said(
            source,
            {
                "Long": long,
                "Longer": long[:-1] + "y",
                "Map": {str(number): 1 for number in range(100_000)},
                "List": [None] * 100_000,
            },
        )


def test_more_may_be_gone_through_when_that_is_allowed():
    turns = {"Messages": [Struct({"Role": "user"}, None)] * 60_000}
    template = parse("{{ range .Messages }}{{ if eq .Role `user` }}{{ .Role }}{{ end }}{{ end }}")
    with pytest.raises(TemplateError, match="too many steps"):
        run(template, turns)
    assert run(template, turns, steps=1_000_000) == "user" * 60_000


def test_what_is_nested_without_an_end_is_refused():
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    for source in ("{{ .Deep }}", "{{ json .Deep }}", "{{ print .Deep }}", "{{ printf `%v` .Deep }}"):
        with pytest.raises(TemplateError, match="nested too deep"):
            said(source, {"Deep": deep})


VOCABULARY = (
    "{{ }} {{- -}} if else end range with break continue $ $x := = | ( ) , . .List .Map .a .System .Messages .Role "
    "`%s%5d` \"a\" 'b' 1 -2 3.5 nil true and or not eq ne lt le gt ge len index slice json print printf println /* */"
)
WORDS = st.sampled_from(VOCABULARY.split())
SHAPED = st.lists(WORDS, max_size=40).map(" ".join)
ACTION = st.lists(WORDS, min_size=1, max_size=6).map(lambda words: f"{{{{ {' '.join(words)} }}}}")
ACTIONS = st.lists(ACTION).map("".join)


@given(SHAPED | ACTIONS | st.text())
@example("{{ range $x, $x := .Map }}{{ $x }}{{ end }}")
@example("{{ printf `%s%5d` .List }}")
def test_nothing_but_its_own_error_comes_out(source: str):
    try:
        text = run(parse(source), VALUES)
    except TemplateError:
        return
    assert len(text) <= functions.LONGEST
    text.encode("utf-8", "surrogatepass")


@given(st.sampled_from(sorted(functions.FUNCTIONS)), st.lists(st.sampled_from(sorted(VALUES)), max_size=4))
def test_every_function_takes_or_refuses_whatever_it_is_given(name: str, values: list[str]):
    source = f"{{{{ {name} {' '.join(f'.{value}' for value in values)} }}}}"
    try:
        run(parse(source), VALUES)
    except TemplateError as error:
        assert name in str(error)  # noqa: PT017


def test_no_more_is_made_than_is_allowed():
    for source in ("{{ range 5 }}abc{{end}}", "{{ $x := `123456` }}{{ len (print $x $x) }}", "{{ len .Long }}"):
        with pytest.raises(TemplateError, match="the text gets too long; 11 characters are allowed"):
            run(parse(source), {"Long": "x" * 12}, longest=11)
    fits = "{{ range 3 }}abc{{ end }}{{ len (print .Long) }}"
    assert run(parse(fits), {"Long": "x" * 11}, longest=11) == "abcabcabc11"
    with pytest.raises(TemplateError, match="too many steps; 1,000 are allowed"):
        run(parse("{{ range 1001 }}{{ end }}"), {}, steps=1000)
