"""A store with a funded campaign whose full allotment is 100 points, and no kiosk; with and without a contingency."""

import pytest
from sqlalchemy import Engine

from tests.cloud.claims.world import World, create_world


@pytest.fixture
def world(engine: Engine) -> World:
    """A store without a kiosk; its campaign has 250 points."""
    return create_world(engine, budget=250, allotment_points=100)


@pytest.fixture
def reserve(engine: Engine) -> World:
    """The same with 30 of the 250 points set aside for claims that come late."""
    return create_world(engine, budget=250, allotment_points=100, contingency=30)
