"""The embedded servers keep what every host keeps: the suite that the modelled and the compose fleet pass too."""

import pytest

from tests.conformance.embedded import EmbeddedHosts
from tests.conformance.suite import PROMISES, keep, name_of


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
async def test_an_embedded_host(promise, fleet_of, tmp_path):
    async with fleet_of(3) as fleet:
        await keep(promise, EmbeddedHosts(fleet, tmp_path))
