from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ab.paired import CONFIDENCE, interval_rank, relative_difference


def test_difference_is_relative_to_the_base() -> None:
    difference = relative_difference([(100.0, 90.0)] * 6)
    assert (difference.median, difference.low, difference.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert not difference.includes_zero


def test_interval_leaves_out_one_extreme_round_of_ten() -> None:
    pairs = [(100.0, 100.0 + change) for change in (-50, -2, -1, 0, 1, 2, 3, 4, 5, 50)]
    difference = relative_difference(pairs)
    assert (difference.low, difference.high) == pytest.approx((-0.02, 0.05))
    assert difference.includes_zero


@given(st.integers(6, 200))
def test_interval_has_the_stated_confidence(count: int) -> None:
    rank = interval_rank(count)

    def outside(rank: int) -> float:
        return 2 * sum(comb(count, below) for below in range(rank + 1)) / 2**count

    assert outside(rank) <= 1 - CONFIDENCE < outside(rank + 1)


def test_five_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        interval_rank(5)
