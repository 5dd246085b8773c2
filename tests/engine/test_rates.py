import json

import pytest
from prune.engine.errors import AllocationError
from prune.engine.selection.rates import match_layer_rates, parse_layer_rates, parse_rates


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("[0.5]", [0.5]),
        ("0.5*3", [0.5] * 3),
        ("[0.1]+[0.60]*3", [0.1, 0.6, 0.6, 0.6]),
        ("[0.]+[0.18]*2", [0.0, 0.18, 0.18]),
        ("[0.1] + [0.2]*2", [0.1, 0.2, 0.2]),
    ],
)
def test_reads_the_grammar(text, rates):
    assert parse_rates(text) == rates


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("[0.5] * 3", "write '[0.5]*3'"),
        ("[0.5]* 3", "write '[0.5]*3'"),
        ("3*[0.5]", "write '[0.5]*3'"),
        ("[0]", "write '[0.0]'"),
        ("[.5]", "write '[0.5]'"),
        ("[.5]*2", "write '[0.5]*2'"),
        ("[0.5,0.6]", "write '[0.5]+[0.6]'"),
        ("[0.5]*2*3", "write '[0.5]*6'"),
        ("([0.1]+[0.2])*2", "parentheses do not group"),
        ("[-0.5]", "negative"),
        ("", "one rate per layer"),
        ("[0.5]+", "one rate per layer"),
        ("half", "write terms such as"),
        ("[0.5]*0", "repeats a rate 0 times"),
        ("[0.5]*99999999999", "repeats a rate"),
        ("[0.1]+[1.5]*2", "rate 2 of '[0.1]+[1.5]*2' is 1.5"),
        ("[1.0]", "rate 1 of '[1.0]' is 1"),
    ],
)
def test_refuses_what_the_papers_parser_misreads(text, advice):
    with pytest.raises(AllocationError) as caught:
        parse_rates(text)
    assert advice in str(caught.value)


def test_shares_kept_range_from_above_0_to_1():
    assert parse_rates("[1.0]+[0.6]", keep=True) == [1.0, 0.6]
    for outside in ("[0.0]", "[1.5]"):
        with pytest.raises(AllocationError, match="share that is kept"):
            parse_rates(outside, keep=True)


def test_reads_every_published_specification_and_refuses_or_agrees_on_odd_ones(golden, published_rows):
    specifications = [
        row
        for row in published_rows.values()
        if row["method"] in ("HRank", "FilterSketch") and row["rates_spec"]
    ]
    assert len(specifications) > 10
    for row in specifications:
        assert parse_rates(row["rates_spec"], keep=row["method"] == "FilterSketch") == row["rates"], row["id"]
    agreed = 0
    for text, theirs in json.loads((golden / "authors" / "rates_grammar.json").read_text()).items():
        try:
            ours = parse_rates(text)
        except AllocationError:
            continue
        assert ours == theirs, text
        agreed += 1
    assert agreed == 4


def test_layer_rates_keep_their_order_and_the_last_match_wins():
    rates = parse_layer_rates(["conv1=0.5", "stage*.conv1 = 0.3", "stage2.*=.25"])
    assert list(rates.items()) == [("conv1", 0.5), ("stage*.conv1", 0.3), ("stage2.*", 0.25)]
    names = ["conv1", "stage1.conv1", "stage2.conv1", "other"]
    assert match_layer_rates(rates, names) == {"conv1": 0.5, "stage1.conv1": 0.3, "stage2.conv1": 0.25}


def test_a_glob_given_twice_counts_as_the_last():
    rates = parse_layer_rates(["a=0.1", "*=0.2", "a=0.3"])
    assert list(rates) == ["*", "a"]
    assert match_layer_rates(rates, ["a", "b"]) == {"a": 0.3, "b": 0.2}


@pytest.mark.parametrize(
    "assignment", ["conv1", "=0.5", "conv1=", "conv1=half", "conv1=1.0", "conv1=-0.1", "c=nan"]
)
def test_refuses_odd_layer_rates(assignment):
    with pytest.raises(AllocationError):
        parse_layer_rates([assignment])


def test_a_glob_that_matches_nothing_offers_the_nearest_name():
    with pytest.raises(AllocationError, match=r"'cnov1' matches no layer; did you mean 'conv1'\?"):
        match_layer_rates({"cnov1": 0.5}, ["conv1", "linear"])
