"""Tests of one group run in one process: what they share is made once, and they don't disturb each other."""

import pytest


@pytest.mark.xdist_group("grouped")
def test_who_deals_the_tests_out_knows_their_groups(request: pytest.FixtureRequest) -> None:
    """pytest-xdist writes a group into the test's name. With a pytest it doesn't know it wrote none, silently."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("nobody deals them out by group")
    assert request.node.nodeid.endswith("@grouped")
