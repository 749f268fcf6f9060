"""Waking: in order, a few at a time, and nobody waits for those who do not come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from status_grpc.service import waking
from status_grpc.service.waking import Signal, Waker


class Followers:
    """Tasks that wait for a signal each, work until they are let, and wait again."""

    def __init__(self, count: int, *, stuck: int = 0) -> None:
        self.signals = [Signal() for _ in range(count)]
        self.woken: list[int] = []
        self.working = 0
        self.most_at_once = 0
        self.let = asyncio.Event()
        self.let.set()
        self._tasks = [asyncio.create_task(self._follow(index, stuck=index < stuck)) for index in range(count)]

    async def _follow(self, index: int, *, stuck: bool) -> None:
        while True:
            await self.signals[index].wait(float("inf"))
            self.woken.append(index)
            if stuck:
                await asyncio.Event().wait()
            self.working += 1
            self.most_at_once = max(self.most_at_once, self.working)
            await asyncio.sleep(0)
            await self.let.wait()
            self.working -= 1

    async def until_woken(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.woken) < count:
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def followers() -> AsyncIterator[Followers]:
    made = Followers(1000)
    await asyncio.sleep(0)
    yield made
    await made.close()


async def test_all_are_woken_in_their_order_and_a_few_at_a_time(followers: Followers) -> None:
    Waker().wake(followers.signals)
    await followers.until_woken(1000)
    assert followers.woken == list(range(1000))
    assert followers.most_at_once == waking._AT_ONCE


async def test_who_is_to_be_woken_twice_before_its_turn_is_woken_once(followers: Followers) -> None:
    waker = Waker()
    waker.wake(followers.signals)
    waker.wake(followers.signals[-10:])
    await followers.until_woken(1000)
    await asyncio.sleep(0.01)
    assert len(followers.woken) == 1000


async def test_a_signal_that_comes_while_its_task_works_is_kept(followers: Followers) -> None:
    waker = Waker()
    followers.let.clear()
    waker.wake(followers.signals[:1])
    await followers.until_woken(1)
    waker.wake(followers.signals[:1])
    await asyncio.sleep(0.01)
    assert followers.woken == [0]
    followers.let.set()
    await followers.until_woken(2)
    assert followers.woken == [0, 0]


async def test_however_many_do_not_come_back_the_others_are_woken() -> None:
    followers = Followers(1000, stuck=900)
    await asyncio.sleep(0)
    waker = Waker()
    waker.wake(followers.signals)
    await followers.until_woken(1000)
    waker.wake(followers.signals)
    await followers.until_woken(1100)
    assert followers.woken[1000:] == list(range(900, 1000)), "those that are stuck take nobody's turn a second time"
    await followers.close()


async def test_those_that_get_on_slowly_are_not_taken_for_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_PATIENCE_SECONDS", 0.05)
    followers = Followers(waking._AT_ONCE + 1, stuck=waking._AT_ONCE)
    await asyncio.sleep(0)
    Waker().wake(followers.signals)
    await followers.until_woken(waking._AT_ONCE)
    for _ in range(50):
        followers.signals[0].get_on()
        await asyncio.sleep(0.01)
    assert len(followers.woken) == waking._AT_ONCE, "one that gets on shows that they are not stuck"
    await followers.until_woken(waking._AT_ONCE + 1)
    await followers.close()


async def test_one_that_leaves_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_PATIENCE_SECONDS", 3600)
    followers = Followers(waking._AT_ONCE + 1, stuck=waking._AT_ONCE)
    await asyncio.sleep(0)
    Waker().wake(followers.signals)
    await followers.until_woken(waking._AT_ONCE)
    await asyncio.sleep(0.01)
    assert len(followers.woken) == waking._AT_ONCE
    followers.signals[0].end_turn()
    await followers.until_woken(waking._AT_ONCE + 1)
    await followers.close()
