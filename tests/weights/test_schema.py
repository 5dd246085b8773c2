"""Kinds of values: what fits passes, what does not is named, whatever it is."""

import pytest
from prune.weights import schema

COUNT = schema.integer(0, 5)
RECORD = schema.record({"a": COUNT}, {"b": schema.maybe(schema.text)})
ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (schema.anything, ENDLESS),
        (schema.number, -3),
        (schema.number, 0.5),
        (schema.above_zero, 1e-9),
        (schema.listed(COUNT), [0, 5]),
        (schema.mapping(schema.flag), {"x": True}),
        (RECORD, {"a": 1}),
        (RECORD, {"a": 1, "b": None}),
        (schema.record({}, {}, others=True), {"c": 1}),
    ],
)
def test_what_fits_passes(kind, value):
    kind(value, "here")


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (schema.number, True, "here is True; it must be a finite number"),
        (schema.number, float("inf"), "here is inf"),
        (schema.number, 10**400, "here is 1000"),
        pytest.param(schema.number, 10**9000, "here is a number of thousands of digits", id="digits"),
        (schema.above_zero, 0, "here is 0; it must be a number above 0"),
        (schema.text, ENDLESS, r"here is \[.*\]; it must be a text"),
        (schema.text, 3, "here is 3"),
        (schema.flag, 1, "here is 1; it must be true or false"),
        (COUNT, 6, "here is 6; it must be a whole number from 0 to 5"),
        (COUNT, 1.0, r"here is 1\.0"),
        (schema.listed(COUNT), (1,), "here is .* it must be a list"),
        (schema.listed(COUNT), [1, 9], r"here\[1\] is 9"),
        (schema.mapping(COUNT), {"x": 9}, r"here\.x is 9"),
        (schema.mapping(COUNT), {3: 1}, "a key of here is 3"),
        (RECORD, {}, r"'here\.a' is missing"),
        (RECORD, {"a": 1, "c": 2}, "there is a key 'c'; allowed are a, b"),
        (RECORD, {"a": 1, "b": 2}, r"here\.b is 2"),
        (RECORD, [], "here is .* it must be an object"),
    ],
)
def test_what_does_not_fit_is_named(kind, value, message):
    with pytest.raises(schema.WrongValue, match=message):
        kind(value, "here")
