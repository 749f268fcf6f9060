"""Following on PostgreSQL: what is about the store, other processes and a store that is away."""

from __future__ import annotations

import pytest
from test_service_following import (  # noqa: F401
    test_a_long_history_comes_in_pages_of_bounded_size,
    test_a_path_means_the_newest_trace_that_was_created_with_it,
    test_a_store_that_goes_away_in_the_middle_of_the_history_costs_nothing_but_time,
    test_a_trace_is_waited_for,
    test_many_followers_cost_one_read_of_each_event,
    test_new_only_waits_for_a_trace_that_is_created_from_now_on,
    test_one_read_serves_all_when_another_process_writes,
    test_waiting_answers_when_the_trace_is_done,
    test_whenever_one_begins_to_follow_nothing_is_missed_and_nothing_comes_twice,
    test_while_the_store_is_away_followers_stay_and_then_catch_up,
)


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url
