"""What is told of a running relay: to `gatepost status`, and to whoever probes it over HTTP.

Decides nothing, and asks nobody.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.crew import Crew
    from relay.generation import Generation
    from relay.net.tally import Tally

__all__ = ["readiness", "status"]


def readiness(
    crew: Crew, current: Generation, *, wanted_workers: int, is_reloading: bool, is_stopping: bool
) -> dict[str, Any]:
    """Say who takes mail: until new workers are ready, the old ones do."""
    serving = [
        worker
        for worker in crew.workers
        if worker.is_ready and (worker.generation == current.number or is_reloading)
    ]
    return {
        "ready_workers": len(serving),
        "wanted_workers": wanted_workers,
        "generation": current.number,
        "is_stopping": is_stopping,
    }


def status(
    crew: Crew,
    current: Generation,
    tally: Tally,
    *,
    uptime_seconds: float,
    crl_sources: Sequence[object],
    ocsp: Mapping[str, Any],
) -> dict[str, Any]:
    """Say what `gatepost status` shows."""
    return {
        "ok": True,
        "pid": os.getpid(),
        "hostname": current.settings.hostname,
        "uptime_seconds": round(uptime_seconds, 1),
        "generation": current.number,
        "listeners": [
            {
                "name": listener.name,
                "address": listener.address,
                "tls": listener.tls,
                "client_certificate": listener.client_certificate,
            }
            for listener in current.settings.listener
        ],
        "workers": [
            {
                "pid": worker.pid,
                "generation": worker.generation,
                "is_ready": worker.is_ready,
                **tally.snapshot(worker.slot),
            }
            for worker in crew.workers
        ],
        "crl_sources": crl_sources,
        "ocsp": ocsp,
    }
