"""One writer at a time for an OUT on an object store: a lease with a number that only increases.

OUT/.lease.json is one object, replaced only by conditional writes. It holds the holder, its number (`epoch`), and the
count of renewals. The holder renews it four times per ttl. A challenger uses only its own clock: it reads the
object, waits, and reads it again. If the object did not change for a ttl, its holder is gone, and the
challenger writes epoch + 1. Of two challengers the store admits one.

A lease alone guarantees nothing: a driver may be suspended for longer than a ttl (SIGSTOP, a laptop that sleeps, a
network that hangs) and still believe that it holds the lease. `claim.Claim` keeps such a driver from doing damage.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError, StoreError, WrongData
from secateur.scale import swap
from secateur.scale.storage import Place

NAME = ".lease.json"
TTL = "SECATEUR_LEASE_TTL"
_LOWEST, _HIGHEST = 0.2, 3600.0


def ttl() -> float:
    """Seconds after which a lease that is not renewed may be taken: 60, or SECATEUR_LEASE_TTL."""
    text = os.environ.get(TTL, "60")
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not _LOWEST <= found <= _HIGHEST:
        raise SecateurError(f"{TTL}: expected seconds from {_LOWEST} to {_HIGHEST:g}, got {text!r}")
    return found


class Lease:
    """A held lease, renewed by a thread until it is released or lost."""

    def __init__(self, place: Place, record: dict[str, Any], tag: str) -> None:
        self.epoch: int = record["epoch"]
        self._place, self._record, self._tag = place, record, tag
        self._ttl: float = record["ttl"]
        self._begun = self._renewed = time.monotonic()
        self._lost, self._lock, self._stop = False, threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="secateur-lease")
        self._thread.start()

    def check(self) -> None:
        """Raise WrongData if another command has taken the lease; renew it if that is overdue."""
        if not self._lost and time.monotonic() - self._renewed > self._ttl / 2:
            self._renew()
        if self._lost:
            raise lost(self._place)

    def release(self) -> None:
        """Release the lease, so that others need not wait."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            if not self._lost:
                try:
                    swap.write(self._place, self._record | {"released": True}, self._tag)
                except StoreError:
                    self._lost = True  # it will expire

    def _keep(self) -> None:
        while not self._stop.wait(self._ttl / 4) and not self._lost:
            try:
                self._renew()
            except StoreError:
                continue  # retry; check() raises if the store stays away

    def _renew(self) -> None:
        with self._lock:
            if self._lost:
                return
            held = round(time.monotonic() - self._begun, 1)
            record = self._record | {"renewals": self._record["renewals"] + 1, "held": held}
            started = time.monotonic()
            tag = swap.write(self._place, record, self._tag)
            if tag is None:
                self._lost = True
            else:
                self._record, self._tag, self._renewed = record, tag, started


def lost(place: Place) -> WrongData:
    """The error of a driver that was suspended so long that another took over."""
    where = place.url.rpartition("/")[0]
    return WrongData(
        f"out: another command took over {where} while this one was unresponsive; this one published no results; "
        f"run it again when the other is done, or choose another --out"
    )


def acquire(out: Place, *, at_least: int, take_over: bool, say: Callable[[str], None]) -> Lease:
    """Acquire the lease on OUT, with an epoch above `at_least` and all earlier ones.

    Raises WrongData if another command is renewing it. take_over: take it from its holder without waiting.
    """
    place, mine = out / NAME, ttl()
    seen, since = None, time.monotonic()
    while True:
        record, tag = swap.read(place)
        if record is not None and not _is_lease(record):
            raise StoreError(f"{place.url}: damaged; make sure that no other command is running there, then delete it")
        free = record is None or record["released"] or take_over or _is_dead(record)
        if not free and seen is None:
            seen, since = (tag, record), time.monotonic()
            if (patience := max(mine, record["ttl"])) >= 5:
                say(
                    f"{out.url} is held by {_who(record)}; waiting up to {patience:g} s to see whether it is still "
                    f"running (--take-over does not wait)"
                )
        elif not free and seen is not None and tag != seen[0]:
            raise WrongData(
                f"out: another command is running in {out.url}: {_who(record)}; wait for it, choose another --out, or "
                f"stop it with --take-over"
            )
        waited = time.monotonic() - since
        if free or (seen is not None and waited >= max(mine, record["ttl"])):
            epoch = max(at_least, 0 if record is None else record["epoch"]) + 1
            new = {"epoch": epoch, **_self(), "ttl": mine, "renewals": 0, "held": 0.0, "released": False}
            if (got := swap.write(place, new, tag)) is not None:
                return Lease(place, new, got)
            seen, take_over = None, False  # another challenger was faster
            continue
        time.sleep(min(1.0, mine / 10))


def _who(record: dict[str, Any]) -> str:
    return f"process {record['pid']} on {record['host'][:80]!r}, running for at least {record['held']:.0f} s"


def _is_lease(record: Any) -> bool:
    """Is this a valid lease? A store may hold anything."""
    kinds: dict[str, Any] = {
        "epoch": int, "renewals": int, "pid": int, "host": str, "boot": str, "owner": str, "start": str,
        "ttl": (int, float), "held": (int, float), "released": bool,
    }  # fmt: skip
    fits = isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in kinds.items())
    return fits and 0 < record["epoch"] < 10**8 and _LOWEST <= record["ttl"] <= _HIGHEST


def _self() -> dict[str, Any]:
    """Identifies this process to others, and to a later process on the same machine."""
    return {
        "host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "start": _start(os.getpid()),
        "owner": uuid.uuid4().hex,
    }  # fmt: skip


def _is_dead(record: dict[str, Any]) -> bool:
    """Was this a process of this machine, boot and container that no longer exists?"""
    here = _boot()
    return bool(here) and record["boot"] == here and _start(record["pid"]) != record["start"]


def _boot() -> str:
    """Identifies this machine, boot and container; empty if unknown."""
    try:
        number = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{number} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start(pid: int) -> str:
    """The start time of a process on this machine, in ticks; empty if it does not exist or has ended."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if found[0] in "ZX" else found[19]
