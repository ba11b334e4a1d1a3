"""One writer at a time for an OUT on an object store: a lease with a number that only grows.

OUT/.lease.json is one object, replaced only by conditional writes: who holds it, its number (`epoch`), and how often
it was renewed. The holder renews it four times in a ttl. A challenger trusts no clock but its own: it looks at the
object, waits, and looks again; an object that did not change for a ttl belongs to a driver that is gone, and the
challenger puts epoch + 1 there. Of two challengers the store lets one through.

A lease alone proves nothing: a driver may be stopped for longer than a ttl (SIGSTOP, a laptop that sleeps, a network
that hangs) and go on believing that it holds it. What such a driver could spoil is kept from it by `claim.Claim`.
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
    """Seconds after which a lease that is not renewed may be taken: 60, or what SECATEUR_LEASE_TTL says."""
    text = os.environ.get(TTL, "60")
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not _LOWEST <= found <= _HIGHEST:
        raise SecateurError(f"{TTL}: expected seconds from {_LOWEST} to {_HIGHEST:g}, got {text!r}")
    return found


class Lease:
    """A lease that is held, and renewed by a thread until it is released or lost."""

    def __init__(self, place: Place, record: dict[str, Any], tag: str) -> None:
        self.epoch: int = record["epoch"]
        self._place, self._record, self._tag = place, record, tag
        self._ttl: float = record["ttl"]
        self._begun = self._renewed = time.monotonic()
        self._lost, self._lock, self._stop = False, threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="secateur-lease")
        self._thread.start()

    def check(self) -> None:
        """Raise WrongData where another command has taken the lease; renew it where that is overdue."""
        if not self._lost and time.monotonic() - self._renewed > self._ttl / 2:
            self._renew()
        if self._lost:
            raise lost(self._place)

    def release(self) -> None:
        """Let others in at once."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            if not self._lost:
                try:
                    swap.write(self._place, self._record | {"released": True}, self._tag)
                except StoreError:
                    self._lost = True  # it runs out by itself

    def _keep(self) -> None:
        while not self._stop.wait(self._ttl / 4) and not self._lost:
            try:
                self._renew()
            except StoreError:
                continue  # the store may be back the next time; check() will say so if not

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
    """What a driver says that was stopped for so long that another took its place."""
    where = place.url.rpartition("/")[0]
    return WrongData(
        f"out: another command took {where} over while this one was unresponsive; none of its results were published; "
        f"run it again when the other is done, or name another --out"
    )


def acquire(out: Place, *, at_least: int, take_over: bool, say: Callable[[str], None]) -> Lease:
    """The lease on OUT, with an epoch above `at_least` and above all before it.

    Raises WrongData where another command renews it. take_over: whoever holds it loses it.
    """
    place, mine = out / NAME, ttl()
    seen, since = None, time.monotonic()
    while True:
        record, tag = swap.read(place)
        if record is not None and not _is_lease(record):
            raise StoreError(f"{place.url}: damaged; see that no other command is at work there, then delete it")
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
                f"out: another command is at work in {out.url}: {_who(record)}; wait for it, name another --out, or "
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
    return f"process {record['pid']} on {record['host'][:80]!r}, at work for {record['held']:.0f} s or more"


def _is_lease(record: Any) -> bool:
    """Is this what we write? A store may hold anything."""
    kinds: dict[str, Any] = {
        "epoch": int, "renewals": int, "pid": int, "host": str, "boot": str, "owner": str, "start": str,
        "ttl": (int, float), "held": (int, float), "released": bool,
    }  # fmt: skip
    fits = isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in kinds.items())
    return fits and 0 < record["epoch"] < 10**8 and _LOWEST <= record["ttl"] <= _HIGHEST


def _self() -> dict[str, Any]:
    """Who this process is, to others and to a later one on the same machine."""
    return {
        "host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "start": _start(os.getpid()),
        "owner": uuid.uuid4().hex,
    }  # fmt: skip


def _is_dead(record: dict[str, Any]) -> bool:
    """Is this a process of this machine, since its last start and in this container, that is there no more?"""
    here = _boot()
    return bool(here) and record["boot"] == here and _start(record["pid"]) != record["start"]


def _boot() -> str:
    """What tells this machine, since its last start, and this container from others; empty where nothing does."""
    try:
        number = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{number} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When a process of this machine began, by the system's count; empty where it is not there or has ended."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if found[0] in "ZX" else found[19]
