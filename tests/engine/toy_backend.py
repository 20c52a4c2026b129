"""A backend without a model: what its payload says is what it does. For tests of the base."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from pathlib import Path
from typing import Any

from warmup.engine.args import ServerArgs
from warmup.engine.backends import Backend, Warmup
from warmup.engine.client import RankClient
from warmup.engine.messages import Failure, RankReply, Request

TOY = Backend("toy", "tests.engine.toy_backend:ToyRunner", "tests.engine.toy_backend:ToyFrontend")


class ToyRunner:
    """payload: {"act": {rank: verb}, "value": …}; verbs: fail, oom, die, sleep."""

    def __init__(self, args: ServerArgs, ranks: Any) -> None:
        self.ranks = ranks
        self.info = {"toy": True}
        self._queue: deque[Request] = deque()
        self._num = 0
        if os.environ.get("TOY_LOAD_FAILS_ON") == str(ranks.rank):
            raise RuntimeError("toy weights are broken")
        if os.environ.get("TOY_LOAD_DIES_ON") == str(ranks.rank):
            os._exit(7)

    @property
    def has_work(self) -> bool:
        return bool(self._queue)

    def admit(self, requests: list[Request]) -> list[RankReply]:
        self._queue.extend(requests)
        return []

    def abort(self, request_id: str) -> None:
        self._queue = deque(each for each in self._queue if each.id != request_id)

    def step(self) -> list[RankReply]:
        request = self._queue.popleft()
        verb = request.payload.get("act", {}).get(str(self.ranks.rank))
        self._num += 1
        if verb == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "sleep":
            time.sleep(float(request.payload["sleep_s"]))
        failure = (
            Failure("oom" if verb == "oom" else "internal", str(verb))
            if (verb in ("fail", "oom"))
            else None
        )
        failure = self.ranks.agree(failure)
        return [RankReply(request.id, {"value": request.payload.get("value")}, failure=failure)]

    def get_stats(self) -> dict[str, float]:
        return {"toy_requests_total": float(self._num)}

    def close(self) -> None:
        print("toy runner closed", flush=True)


class ToyFrontend:
    """Warm-ups are the JSON list of `warmups.json` in the model folder, if it is there."""

    def __init__(self, args: ServerArgs) -> None:
        self.info = {"task": "toy"}
        self.model_card: dict[str, Any] = {}
        self._args = args

    def add_routes(self, app: Any, client: RankClient) -> None:
        @app.post("/toy")
        async def toy(payload: dict[str, Any]) -> Any:
            await client.warm_first(lambda: client.call("toy", payload, warmup=True))
            return await client.call("toy", payload)

        @app.websocket("/ws")
        async def socket(websocket: Any) -> None:
            await websocket.accept()
            await websocket.close()

    def get_warmups(self) -> list[Warmup]:
        import json

        path = Path(self._args.model, "warmups.json")
        plans = json.loads(path.read_text()) if path.is_file() else []
        return [
            Warmup(plan["name"], "toy", plan["payload"], smaller=tuple(plan.get("smaller", ())))
            for plan in plans
        ]

    def close(self) -> None:
        pass
