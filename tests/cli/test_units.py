"""Numbers as people read them."""

import pytest
from prune.cli import units


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (units.count(1234), "1,234"),
        (units.large(9_999), "9,999"),
        (units.large(853_018), "0.85M"),
        (units.large(125_485_760), "125.49M"),
        (units.large(4_089_184_256), "4.09G"),
        (units.percent(0.471), "47.1%"),
        (units.accuracy(93.26), "93.26%"),
        (units.change(62.7, 125.4), "-50.0%"),
        (units.change(3, 2), "+50.0%"),
        (units.change(1, 0), "-"),
        (units.size(999), "999 B"),
        (units.size(3_400), "3.4 kB"),
        (units.size(3_400_000), "3.4 MB"),
        (units.milliseconds(1.234), "1.23"),
        (units.milliseconds(45.6), "45.6"),
        (units.milliseconds(789.1), "789"),
        (units.times(1.449), "1.45x"),
        (units.percent_change(-0.498), "-49.8%"),
        (units.points(-0.418), "-0.42"),
        (units.duration(59.4), "59s"),
        (units.duration(59.6), "1m00s"),
        (units.duration(7_620), "2h07m"),
        (units.real(-1.5e-7), "-1.5e-07"),
        (units.real(0.012345), "0.0123"),
        (units.real(float("nan")), "nan"),
        (units.shape((64, 3, 7, 7)), "64x3x7x7"),
        (units.shape(()), "()"),
    ],
)
def test_formats(written: str, expected: str):
    assert written == expected
