"""The fixture `world`: a store with a funded campaign, forty members and no kiosk, on both databases."""

import pytest
from sqlalchemy import Engine

from tests.cloud.claims.world import World, create_world


@pytest.fixture
def world(engine: Engine) -> World:
    """A store without a kiosk."""
    return create_world(engine)
