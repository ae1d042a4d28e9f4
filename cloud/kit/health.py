"""Is the service alive? Open to everybody, so it says nothing but that."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from cloud.kit.database import reading


class Health(BaseModel):
    """`broker` is "none" for a service without one. Its absence is no failure: kiosks keep what they have to say."""

    database: bool
    broker: Literal["up", "down", "none"]


def health_router(engine: Engine, is_broker_up: Callable[[], bool | None]) -> APIRouter:
    """`GET /healthz`: 200 while requests can be answered, else 503."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", responses={503: {"model": Health, "description": "The database does not answer"}})
    def get_health(response: Response) -> Health:
        """Whether database and broker answer."""
        answers = _answers(engine)
        response.status_code = 200 if answers else 503
        up = is_broker_up()
        return Health(database=answers, broker="none" if up is None else "up" if up else "down")

    return routes


def _answers(engine: Engine) -> bool:
    try:
        with reading(engine) as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True
