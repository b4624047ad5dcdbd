"""Templates that would never end, or fill the memory, are ended; all others render as before."""

from __future__ import annotations

import time

import pytest

from danlu.errors import TemplateError
from danlu.sequences import bounds
from danlu.sequences.bounds import MOST, size
from danlu.sequences.environment import compile_template, render_compiled
from danlu.sequences.shipped import SHIPPED

ASKED = [{"role": "user", "content": "丹炉 " * 20}, {"role": "assistant", "content": "ok"}]


def rendered(source, messages=ASKED):
    return render_compiled(compile_template(source), {}, messages, None, False)


def _refused(source):
    with pytest.raises(TemplateError) as told:
        rendered(source)
    return str(told.value)


NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ENDLESS = {
    "loops in loops": NESTED,
    "loops that use loop": NESTED.replace("99999) %}{% e", "99999) %}{{ loop.index }}{% e"),
    "loops that pass all over": NESTED.replace("b in range(99999)", "b in range(99999) if b < 0"),
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}"
    "{% endif %}{% endmacro %}{{ m(200) }}",
    "a loop that calls itself": "{% for a in [1, 2] recursive %}{% if loop.depth < 200 %}"
    "{{ loop([1, 2]) }}{% endif %}{% endfor %}",
    "a block that calls itself": "{% block b %}{% if messages.n is not defined %}{{ self.b() }}"
    "{{ self.b() }}{% endif %}{% endblock %}",
    "filters over filters": "{% set x = range(99999) | list %}"
    "{{ x | map('default', x | string) | map('upper') | map('title') | list | length }}",
    "tests over tests": "{% for a in range(99999) %}"
    "{{ range(99999) | select('odd') | list | length }}{% endfor %}",
    "blocks in loops": "{% for a in range(99999) %}{% block b scoped %}{% for b in range(99999) %}"
    "{% endfor %}{% endblock %}{% endfor %}",
    "loops that are left": "{% for a in range(99999) %}{% for b in range(99999) %}{% if b > 9 %}"
    "{% break %}{% endif %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_what_would_run_for_ever_is_ended(source, monkeypatch):
    monkeypatch.setattr(bounds, "RENDER_S", 0.04)
    began = time.thread_time()
    said = _refused(source)
    assert "computing: do its loops or calls end?" in said or "recursion" in said
    assert time.thread_time() - began < 2


DOUBLED = (
    "{% set s = namespace(x='ab') %}{% for i in range(60) %}{% set s.x = DOUBLE %}{% endfor %}"
)
GROWING = {
    "times": "{{ 'x' * 10 ** 9 }}",
    "times, of a list": "{{ ([messages] * 10 ** 9) | length }}",
    "power": "{{ 10 ** 99999999 }}",
    "numbers": DOUBLED.replace("'ab'", "9").replace("DOUBLE", "s.x * s.x"),
    "sum": DOUBLED.replace("DOUBLE", "s.x + s.x"),
    "concatenation": DOUBLED.replace("DOUBLE", "s.x ~ s.x"),
    "block": DOUBLED.replace(
        "{% set s.x = DOUBLE %}", "{% set y %}{{ s.x }}{{ s.x }}{% endset %}{% set s.x = y %}"
    ),
    "list of lists": DOUBLED.replace("DOUBLE", "[s.x, s.x]"),
    "dict of dicts": DOUBLED.replace("DOUBLE", "{'a': s.x, 'b': s.x}"),
    "dict()": DOUBLED.replace("DOUBLE", "dict(a=s.x, b=s.x)"),
    "join": DOUBLED.replace("DOUBLE", "s.x | join(s.x)"),
    "str.join": DOUBLED.replace("DOUBLE", "s.x.join(s.x)"),
    "replace": DOUBLED.replace("DOUBLE", "s.x | replace('a', s.x)"),
    "str.replace": DOUBLED.replace("DOUBLE", "s.x.replace('', s.x)"),
    "str.format": DOUBLED.replace("DOUBLE", "'{0}{0}'.format(s.x)"),
    "format": DOUBLED.replace("DOUBLE", "'%s%s' | format(s.x, s.x)"),
    "percent": DOUBLED.replace("DOUBLE", "'%s%s' % (s.x, s.x)"),
    "a wide percent": "{{ '%999999999d' % 1 }}",
    "a given width": "{{ '%*d' % (10 ** 9, 1) }}",
    "a wide format": "{{ '{:>{}}'.format('x', 10 ** 9) }}",
    "center": "{{ 'x' | center(10 ** 9) }}",
    "str.center": "{{ 'x'.center(10 ** 9) }}",
    "zfill": "{{ 'x'.zfill(10 ** 9) }}",
    "tabs": "{{ '\t'.expandtabs(10 ** 9) }}",
    "translate": "{% set x = 'x' * 99999 %}{{ x.translate({120: x}) | length }}",
    "bytes": "{{ (1).to_bytes(10 ** 9, 'big') | length }}",
    "indent": "{{ 'a\nb' | indent(10 ** 9) }}",
    "json": "{{ messages | tojson(indent=10 ** 9) }}",
    "batch": "{{ [1] | batch(10 ** 9, 0) | list | length }}",
    "round": "{{ 1.5 | round(10 ** 9, 'ceil') }}",
    "written": "{% set x = 'x' * 999999 %}{% for i in range(99) %}{{ x }}{% endfor %}",
    "wrapped": "{% set x = 'x y ' * 9999 %}{{ x | wordwrap(1, true, x) | length }}",
}


@pytest.mark.parametrize("source", GROWING.values(), ids=GROWING)
def test_what_would_fill_the_memory_is_refused(source):
    assert "larger than 10,000,000 characters" in _refused(source)


@pytest.mark.parametrize("part", ["{% if true %}", "{{ (" + "(" * 99999])
def test_what_is_nested_too_deeply_is_no_template(part):
    ends = {"{% if true %}": "{% endif %}"}.get(part, ")" * 99999 + ") }}")
    source = (part * 500 + ends * 500) if part in "{% if true %}" else f"{part}1{ends}"
    with pytest.raises(TemplateError, match="nested too deeply"):
        compile_template(source)


def test_no_more_can_be_had_of_a_random_text():
    assert "lipsum" in _refused("{{ lipsum(10 ** 9) }}")


def test_a_machine_that_was_busy_ends_nothing(monkeypatch):
    """Time counts that the template computes, not that others take; a paused process goes on."""
    later = time.monotonic() + 1000
    monkeypatch.setattr(bounds.time, "monotonic", lambda: later)
    context = bounds.Clocked.__new__(bounds.Clocked)
    monkeypatch.setattr(bounds.time, "thread_time", lambda: computed)
    computed = 7.0
    for _ in range(5):
        later += 1000
        bounds.tick(context)
    computed += bounds.RENDER_S
    later += 1000
    with pytest.raises(bounds.BoundError):
        bounds.tick(context)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 3 * 4 }} {{ 2 ** 10 }} {{ 7 % 4 }} {{ '%s|%d' % ('炉', 3) }} {{ 'ab' * 3 }}",
         "12 1024 3 炉|3 ababab"),
        ("{% for a in [1, 2, 3] if a > 1 %}{{ loop.index }}/{{ loop.length }} {% endfor %}",
         "1/2 2/2 "),
        ("{% for a in [] %}{% else %}none{% endfor %}", "none"),
        ("{% for a, b in {'x': 1}.items() %}{{ a ~ b ~ loop.last }}{% endfor %}", "x1True"),
        ("{% set a, b = 1, [2] + [3] %}{{ b + [a] }}", "[2, 3, 1]"),
        ("{{ ['a', 'b'] | join(', ') }} {{ ', '.join(messages | map(attribute='role')) }}",
         "a, b user, assistant"),
        ("{{ messages | join('-', attribute='role') }}", "user-assistant"),
        ("{{ 'a-b' | replace('-', '+') }} {{ 'a-b'.replace('-', '') }} {{ '{}'.format(1) }}",
         "a+b ab 1"),
        ("{{ {'a': [1]} | tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
        ("{% macro m(x, y=2) %}{{ x + y }}{% endmacro %}{{ m(1) }}{{ m(x=2, y=3) }}", "35"),
        ("{% set ns = namespace(a='', n=0) %}{% for m in messages %}{% set ns.a = ns.a + m.role %}"
         "{% endfor %}{{ ns.a }}", "userassistant"),
        ("{% for a in [[1], [2, 3]] recursive %}{% if a is iterable %}{{ loop(a) }}{% else %}"
         "{{ a }}{% endif %}{% endfor %}", "123"),
        ("{{ 'a\nb' | indent(2) }} {{ 1.25 | round(1) }} {{ [1, 2, 3] | batch(2, 0) | list }}",
         "a\n  b 1.2 [[1, 2], [3, 0]]"),
    ],
)  # fmt: skip
def test_what_is_bounded_gives_what_it_gave(source, text):
    assert rendered(source) == text


def test_the_longest_conversations_are_far_from_the_limits():
    long = [
        {"role": role, "content": "丹炉 " * 50}
        for _ in range(2000)
        for role in ("user", "assistant")
    ]
    source = "{% for m in messages %}{{ m.role + ': ' + m.content ~ '\n' }}{% endfor %}"
    began = time.thread_time()
    assert len(rendered(source, long)) == sum(len(m["role"] + m["content"]) + 3 for m in long)
    assert time.thread_time() - began < bounds.RENDER_S / 10
    assert len(rendered("{{ messages[0].content }}", [{"content": "x" * MOST}])) == MOST
    assert SHIPPED


def test_the_size_of_what_is_shared():
    twice = ["ab", "ab"]
    many = twice
    for _ in range(200):
        many = [many, many]
    assert size([twice, twice]) == 11
    assert size(many) > MOST
    twice.append(twice)  # one that holds itself
    assert size(twice) == 6
