"""A store that outlives the processes that met in it: the next ones do not take up what those have left."""

import threading
from datetime import timedelta

import pytest
import torch.distributed as dist
from prune.engine.processes.attempts import own_part
from torch.distributed import HashStore, Store

SOON = timedelta(seconds=20)


def met(store: Store, count: int) -> list[Store]:
    parts: dict[int, Store] = {}

    def join(number: int) -> None:
        parts[number] = own_part(store, number, count, SOON)

    joining = [threading.Thread(target=join, args=(number,)) for number in reversed(range(count))]
    for thread in joining:
        thread.start()
    for thread in joining:
        thread.join()
    return [parts[number] for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_each_attempt_has_a_part_of_its_own(count: int):
    store = HashStore()
    store.set_timeout(SOON)
    for _ in range(3):
        parts = met(store, count)
        assert not any(part.check(["where"]) for part in parts)
        parts[0].set("where", "here")
        assert [part.get("where") for part in parts] == [b"here"] * count


def test_an_attempt_that_was_cut_short_confuses_nobody():
    """Its processes have asked, and the first of them has answered some; then all are gone."""
    store = HashStore()
    store.set_timeout(SOON)
    store.set("asks 1", "old")
    store.set("asks 2", "older")
    store.set("answer to old", "gone")
    store.set("has gone 1", "")
    parts = met(store, 3)
    parts[0].set("where", "here")
    assert [part.get("where") for part in parts] == [b"here"] * 3


def test_others_that_do_not_come():
    with pytest.raises(dist.DistStoreError, match=r"processes \[1\] did not come"):
        own_part(HashStore(), 0, 2, timedelta(seconds=0.1))
