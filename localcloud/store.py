"""What the cloud knows, in SQLite: nodes, their workers, operations. It survives a kill of the daemon.

One connection, used by the event loop's thread alone. Every method is one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS nodes (
    name TEXT PRIMARY KEY, uid TEXT NOT NULL UNIQUE, state TEXT NOT NULL, document TEXT NOT NULL,
    api_version TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS workers (
    uid TEXT NOT NULL REFERENCES nodes (uid) ON DELETE CASCADE, position INTEGER NOT NULL,
    octet INTEGER NOT NULL UNIQUE, hostname TEXT NOT NULL, instance_id TEXT NOT NULL,
    host_key TEXT NOT NULL DEFAULT '', PRIMARY KEY (uid, position));
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, verb TEXT NOT NULL, target TEXT NOT NULL, uid TEXT NOT NULL, created TEXT NOT NULL,
    ended TEXT, error TEXT, response TEXT);
"""

OCTETS = range(2, 255)
"""Last numbers of the workers' addresses: .1 is the bridge."""


class NoAddressesLeft(Exception):
    """The subnet has no room for so many workers."""


@dataclass(frozen=True)
class NodeRecord:
    """A node: ``document`` is what the API says of it, without what is derived (state, endpoints, health)."""

    name: str
    uid: str
    state: str
    document: dict[str, Any]
    api_version: str
    created: str


@dataclass(frozen=True)
class WorkerRecord:
    uid: str
    position: int
    octet: int
    hostname: str
    instance_id: str
    host_key: str = ""


@dataclass(frozen=True)
class OperationRecord:
    """A long-running operation; done when ``ended`` is set. ``response`` is a node, or empty."""

    name: str
    verb: str
    target: str
    uid: str
    created: str
    ended: str | None = None
    error: dict[str, Any] | None = None
    response: dict[str, Any] | None = None


class Store:
    """The cloud's memory, in one file."""

    def __init__(self, path: Path | str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        # A commit must outlive a kill of the daemon, not a loss of power: no wait for the disk.
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        self._database.close()

    def meta(self, key: str) -> str | None:
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add_node(self, node: NodeRecord, workers: list[WorkerRecord], operation: OperationRecord) -> list[WorkerRecord]:
        """Keep a new node, its workers and the operation that makes it; the workers come back with addresses.

        Raises:
            KeyError: the name is taken.
            NoAddressesLeft: too many workers.
        """
        with self._transaction():
            if self.node(node.name) is not None:
                raise KeyError(node.name)
            free = self._free_octets(len(workers))
            self._database.execute(
                "INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?)",
                (node.name, node.uid, node.state, json.dumps(node.document), node.api_version, node.created),
            )
            placed = [replace(worker, octet=octet) for worker, octet in zip(workers, free, strict=True)]
            self._database.executemany(
                "INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?)",
                [(w.uid, w.position, w.octet, w.hostname, w.instance_id, w.host_key) for w in placed],
            )
            self._insert_operation(operation)
        return placed

    def node(self, name: str) -> NodeRecord | None:
        row = self._database.execute("SELECT * FROM nodes WHERE name = ?", (name,)).fetchone()
        return None if row is None else _node(row)

    def node_of(self, uid: str) -> NodeRecord | None:
        """The node with the id ``uid``."""
        row = self._database.execute("SELECT * FROM nodes WHERE uid = ?", (uid,)).fetchone()
        return None if row is None else _node(row)

    def nodes(self, parent: str = "") -> list[NodeRecord]:
        """Every node whose name begins with ``parent``, in the order of creation."""
        rows = self._database.execute("SELECT * FROM nodes ORDER BY created, name").fetchall()
        return [_node(row) for row in rows if str(row[0]).startswith(parent)]

    def set_state(self, uid: str, state: str) -> None:
        self._database.execute("UPDATE nodes SET state = ? WHERE uid = ?", (state, uid))

    def set_document(self, uid: str, document: dict[str, Any]) -> None:
        self._database.execute("UPDATE nodes SET document = ? WHERE uid = ?", (json.dumps(document), uid))

    def remove_node(self, uid: str) -> None:
        """Forget a node and its workers; its operations stay."""
        self._database.execute("DELETE FROM nodes WHERE uid = ?", (uid,))

    def workers(self, uid: str) -> list[WorkerRecord]:
        rows = self._database.execute("SELECT * FROM workers WHERE uid = ? ORDER BY position", (uid,)).fetchall()
        return [WorkerRecord(*row) for row in rows]

    def set_host_key(self, uid: str, position: int, host_key: str) -> None:
        self._database.execute(
            "UPDATE workers SET host_key = ? WHERE uid = ? AND position = ?", (host_key, uid, position)
        )

    def add_operation(self, operation: OperationRecord) -> None:
        with self._transaction():
            self._insert_operation(operation)

    def operation(self, name: str) -> OperationRecord | None:
        row = self._database.execute("SELECT * FROM operations WHERE name = ?", (name,)).fetchone()
        return None if row is None else _operation(row)

    def operations(self, parent: str = "") -> list[OperationRecord]:
        """Every operation whose name begins with ``parent``, the oldest first."""
        rows = self._database.execute("SELECT * FROM operations ORDER BY created, name").fetchall()
        return [_operation(row) for row in rows if str(row[0]).startswith(parent)]

    def end_operations(
        self,
        uid: str,
        ended: str,
        *,
        verbs: tuple[str, ...],
        response: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        """End the open operations of ``verbs`` on a node, all in the same way."""
        marks = ", ".join("?" for _ in verbs)
        self._database.execute(
            f"UPDATE operations SET ended = ?, response = ?, error = ? "  # noqa: S608 - only question marks
            f"WHERE uid = ? AND ended IS NULL AND verb IN ({marks})",
            (ended, _json(response), _json(error), uid, *verbs),
        )

    def end_operation(self, name: str, ended: str, response: dict[str, Any] | None = None) -> None:
        self._database.execute(
            "UPDATE operations SET ended = ?, response = ? WHERE name = ? AND ended IS NULL",
            (ended, _json(response), name),
        )

    def _free_octets(self, count: int) -> list[int]:
        taken = {row[0] for row in self._database.execute("SELECT octet FROM workers")}
        free = [octet for octet in OCTETS if octet not in taken][:count]
        if len(free) < count:
            raise NoAddressesLeft(f"{count} workers asked for, room for {len(free)}")
        return free

    def _insert_operation(self, operation: OperationRecord) -> None:
        self._database.execute(
            "INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                operation.name, operation.verb, operation.target, operation.uid, operation.created, operation.ended,
                _json(operation.error), _json(operation.response),
            ),
        )  # fmt: skip

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _node(row: tuple[Any, ...]) -> NodeRecord:
    return NodeRecord(row[0], row[1], row[2], json.loads(row[3]), row[4], row[5])


def _operation(row: tuple[Any, ...]) -> OperationRecord:
    error, response = (json.loads(value) if value else None for value in row[6:8])
    name, verb, target, uid, created, ended = row[:6]
    return OperationRecord(name, verb, target, uid, created, ended, error, response)
