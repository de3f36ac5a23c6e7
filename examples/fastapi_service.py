"""A scoring service that tells Gnomon what its model claims, and later what turned out.

Run it (``pip install fastapi uvicorn``; Kafka is where ``GNOMON_KAFKA`` says)::

    uvicorn examples.fastapi_service:app
    curl -X POST localhost:8000/score -H 'content-type: application/json' -d '{"amount": 250, "country": "NL"}'
"""

import math
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from streams.client import AsyncGnomon


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Deliver what is buffered before the service goes down."""
    async with AsyncGnomon() as app.state.gnomon:
        yield


app = FastAPI(lifespan=lifespan)


def client(request: Request) -> AsyncGnomon:
    """Return the service's client; tests may put another one in its place."""
    gnomon: AsyncGnomon = request.app.state.gnomon
    return gnomon


Client = Annotated[AsyncGnomon, Depends(client)]


class Payment(BaseModel):
    """What is to be scored."""

    amount: float
    country: str


class Label(BaseModel):
    """What turned out."""

    fraud: bool
    review_seconds: float | None = None


@app.post("/score")
async def score(payment: Payment, gnomon: Client) -> dict[str, float | str]:
    """Score a payment."""
    request_id = uuid.uuid4().hex
    probability = 1 / (1 + math.exp(4 - payment.amount / 500))  # the model
    gnomon.log_prediction(
        request_id=request_id,
        model_id="fraud",
        model_version="7",
        score=probability,
        amount=payment.amount,
        subgroups={"country": payment.country},
    )
    return {"request_id": request_id, "score": probability}


@app.post("/labels/{request_id}", status_code=202)
async def label(request_id: str, what: Label, gnomon: Client) -> None:
    """Take the truth about a payment, whenever it is known."""
    try:
        gnomon.log_outcome(request_id=request_id, true_label=what.fraud, review_seconds=what.review_seconds)
    except ValueError as error:  # of the caller's making: a review of minus ten seconds
        raise HTTPException(422, str(error)) from error


@app.get("/delivery")
async def delivery(gnomon: Client) -> dict[str, int]:
    """Return how many records are where."""
    return {name: getattr(gnomon, name) for name in ("delivered", "buffered", "dropped", "failed")}
