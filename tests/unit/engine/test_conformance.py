"""The modelled fleet keeps what real hosts keep: the suite that the other fleets pass too."""

import pytest

from tests.conformance.model import ModelHosts
from tests.conformance.suite import PROMISES, keep, name_of
from tests.unit.engine.virtual import run_virtually


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_a_modelled_host(promise, tmp_path):
    hosts = ModelHosts(tmp_path)
    run_virtually(keep(promise, hosts))
