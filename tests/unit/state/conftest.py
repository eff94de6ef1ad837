"""A store in a folder of its own, on a clock that the test sets."""

import pytest

from fleetctl.state.identity import this_process
from fleetctl.state.store import Store
from tests.unit.state.scene import SetClock


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def open_store(folder, clock):
    """Opens the store again and again, as so many runs do; `here` is the process that each seems to be."""
    opened = []

    def opener(*, here=None, clock=clock, on_commit=None):
        opened.append(Store.open(folder, clock=clock, process=here or this_process(), on_commit=on_commit))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()
