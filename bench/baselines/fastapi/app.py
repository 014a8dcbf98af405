"""POST /orders: the usual FastAPI + asyncpg service in front of a row in PostgreSQL.

    LOCK=for_update|conditional POOL=20 DATABASE_URL=... uvicorn app:app --loop uvloop --http httptools --no-access-log

asyncpg prepares statements by itself and keeps them for each connection. The unit in the answer is the one that was left.
"""
import os
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, PositiveInt

LOCK = os.environ.get("LOCK", "for_update")
POOL = int(os.environ.get("POOL", "20"))


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=POOL, max_size=POOL)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)


class Order(BaseModel):
    event: PositiveInt
    user: PositiveInt


async def take_for_update(connection, event):
    stock = await connection.fetchval("SELECT stock FROM deal WHERE event_id = $1 FOR UPDATE", event)
    if stock is None or stock < 1:
        return None
    await connection.execute("UPDATE deal SET stock = stock - 1 WHERE event_id = $1", event)
    return stock - 1


async def take_conditional(connection, event):
    return await connection.fetchval(
        "UPDATE deal SET stock = stock - 1 WHERE event_id = $1 AND stock > 0 RETURNING stock", event)


take = {"for_update": take_for_update, "conditional": take_conditional}[LOCK]


@app.post("/orders", status_code=201)
async def create_order(order: Order):
    async with app.state.pool.acquire() as connection, connection.transaction():
        unit = await take(connection, order.event)
        if unit is None:
            raise HTTPException(409, "sold out")
        hold = await connection.fetchrow(
            "INSERT INTO hold (event_id, user_id) VALUES ($1, $2) RETURNING hold_id, deadline", order.event, order.user)
    return {"hold": hold["hold_id"], "event": order.event, "user": order.user, "unit": unit, "deadline": hold["deadline"]}
