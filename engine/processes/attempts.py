"""torchrun keeps one store over its restarts: each attempt of a job gets a part of it for itself."""

import time
from datetime import timedelta
from uuid import uuid4

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

_OFTEN = 0.01  # seconds


def own_part(store: Store, number: int, count: int, patience: timedelta) -> Store:
    """A part of the store in which nothing stands yet, the same for all processes that are now there.

    What processes that are gone have left, such as where they listened and who spoke for the job, is not
    taken for what the new ones say. Restarts are not counted: machines may disagree on how many there were.

    Args:
        number, count: which of how many processes this is; the first gives the part its name.
    Raises:
        dist.DistError: the others do not come in time.
    """
    if number != 0:
        question = uuid4().hex
        store.set(f"asks {number}", question)
        name = store.get(f"answer to {question}").decode()  # waits; no old answer is to this question
        store.set(f"has {name} {number}", "")
        return PrefixStore(name, store)
    name, missing, until = uuid4().hex, set(range(1, count)), time.monotonic() + patience.total_seconds()
    while missing:
        for other in [other for other in missing if store.check([f"asks {other}"])]:
            store.set(f"answer to {store.get(f'asks {other}').decode()}", name)  # who asked may be gone
        missing = {other for other in missing if not store.check([f"has {name} {other}"])}
        if time.monotonic() > until:
            raise dist.DistStoreError(f"processes {sorted(missing)} did not come")
        time.sleep(_OFTEN)
    return PrefixStore(name, store)
