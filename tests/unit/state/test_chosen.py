"""Which inventory: the option, the variable, what the last deploy kept; never a guess between two fleets."""

from pathlib import Path

import pytest

from fleetctl.errors import UsageError
from fleetctl.state.chosen import choose_inventory


class Kept(dict):
    """What a store knows: fleet -> inventory."""

    def fleets(self):
        return tuple(sorted(self))

    def inventory_path(self, fleet):
        return self[fleet]


class Unasked:
    def fleets(self):
        raise AssertionError("the store was asked where it has no say")


def test_the_option_wins_and_the_store_is_not_even_asked():
    chosen = choose_inventory(Path("a.yml"), {"FLEETCTL_INVENTORY": "b.yml"}, Unasked())
    assert chosen == Path("a.yml")


def test_the_variable_is_next():
    assert choose_inventory(None, {"FLEETCTL_INVENTORY": "b.yml"}, Unasked()) == Path("b.yml")


def test_cron_needs_neither(tmp_path):
    kept = tmp_path / "prod.yml"
    kept.touch()
    assert choose_inventory(None, {"FLEETCTL_INVENTORY": ""}, Kept(prod=kept)) == kept
    assert choose_inventory(None, {}, Kept(prod=tmp_path)) == tmp_path  # an inventory may be a folder


def test_before_the_first_deploy_it_has_to_be_named():
    with pytest.raises(UsageError) as told:
        choose_inventory(None, {}, Kept())
    assert "-i" in told.value.hint


def test_two_fleets_are_both_named_and_neither_is_chosen(tmp_path):
    with pytest.raises(UsageError) as told:
        choose_inventory(None, {}, Kept(prod=tmp_path / "prod.yml", stage=None))
    text = "\n".join(told.value.lines())
    assert f"prod: {tmp_path}/prod.yml" in text
    assert "stage: no inventory kept" in text
    assert "-i" in text


def test_a_kept_inventory_that_is_gone_is_named(tmp_path):
    with pytest.raises(UsageError, match=f"of fleet prod is gone: {tmp_path}/prod.yml") as told:
        choose_inventory(None, {}, Kept(prod=tmp_path / "prod.yml"))
    assert "-i" in told.value.hint


def test_a_fleet_of_which_none_is_kept_needs_it_named():
    with pytest.raises(UsageError, match="no inventory of fleet prod is kept"):
        choose_inventory(None, {}, Kept(prod=None))
