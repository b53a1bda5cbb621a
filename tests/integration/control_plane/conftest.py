"""A running control plane on a real database, and people who use it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import redis.asyncio as redis
from argon2 import PasswordHasher

from compiler.identity import Roster, roster_key, sign_roster
from compiler.models.encoding import Encoding, Numeric
from compiler.package import FileEntry, Graph, Manifest, encode_manifest, package_digest
from compiler.schema import Feature, OutputSchema
from compiler.signing import KeyPair, b64, sign
from compiler.statements import format_time
from control_plane.app import build_app
from control_plane.identity import passwords
from control_plane.registry import service
from control_plane.settings import ControlSettings

PASSWORD = "a long sentence nobody guesses"

READING = {"report_openings", "login_attempts", "sessions"}
"""Tables that calls which change nothing else may write."""

FEATURES = {
    "amount": Feature(type="int", min=0, max=100_000),
    "months": Feature(type="int", min=1, max=120),
}
OUTPUT = OutputSchema("classification", ("bad", "good"))


def manifest_of(model: str, version: int, *contributors: str, **changes: Any) -> Manifest:
    """A plausible manifest."""
    entry = FileEntry("0" * 64, 1)
    facts: dict[str, Any] = {
        "name": model,
        "version": version,
        "features": FEATURES,
        "output": OUTPUT,
        "encoding": Encoding((Numeric("amount"), Numeric("months"))),
        "graph": Graph("x", ("probabilities",), "linear"),
        "min_rows": 1,
        "recipe": {"estimator": "logistic_regression"},
        "lineage": {"seed": 7},
        "contributors": contributors,
        "metrics": {"auc": 0.8},
        "parity": {"passed": True},
        "files": {"model.onnx": entry, "golden.npz": entry},
    }
    return Manifest(**{**facts, **changes})


class Answer:
    """Status and body of one answer."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers = response.headers
        self.raw: bytes = response.content
        is_json = "json" in response.headers.get("content-type", "")
        self.body: Any = msgspec.json.decode(self.raw) if is_json and self.raw else None

    @property
    def code(self) -> str:
        """Code of a problem document."""
        return self.body["code"]


class Person:
    """One person at the API, with a signing key of his own."""

    def __init__(self, house: House, email: str, key: KeyPair) -> None:
        self.house = house
        self.email = email
        self.key = key
        self.token = ""

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request as this person."""
        names = {k.replace("_", "-"): v for k, v in headers.items()}
        content = body if isinstance(body, bytes) else None
        if self.token:
            names["Authorization"] = f"Bearer {self.token}"
        return Answer(
            await self.house.client.request(
                method,
                "/api" + path,
                json=body if content is None and body is not None else None,
                content=content,
                headers=names,
            )
        )

    async def get(self, path: str) -> Any:
        """Body of a GET that must succeed."""
        answer = await self.call("GET", path)
        assert answer.status == 200, answer.raw
        return answer.body

    async def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """Body of a POST that must succeed."""
        answer = await self.call("POST", path, body, **headers)
        assert answer.status in (200, 201, 204), answer.raw
        return answer.body

    async def refused(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, str]:
        """Status and code of a call that must be refused."""
        answer = await self.call(method, path, body, **headers)
        assert answer.status >= 400, answer.raw
        return answer.status, answer.code

    async def read_reports(self, path: str) -> None:
        """Open every report of a version."""
        for report in await self.get(path + "/reports"):
            await self.get(f"{path}/reports/{report['name']}")

    async def approve(self, path: str) -> Any:
        """Fetch the statement of a version or release, sign it, hand it in."""
        return await self.post(path + "/approve", self.sign(await self.get(path + "/statement")))

    def sign(self, statement: dict[str, Any], **changes: Any) -> dict[str, str]:
        """The body of an approval: the statement, signed with this person's key."""
        payload = base64.b64decode(statement["payload"])
        if changes:
            document = msgspec.json.decode(payload) | changes
            payload = msgspec.json.encode(document, order="sorted")
        return {"envelope": sign(statement["payload_type"], payload, self.key).decode()}


class House:
    """The control plane with its keys and people."""

    def __init__(self, client: Any, app: Any, settings: ControlSettings, root: KeyPair) -> None:
        self.client = client
        self.app = app
        self.settings = settings
        self.root = root
        self.builder = KeyPair.generate()
        self.version = 0
        self.people: dict[str, Person] = {}
        self.stack = AsyncExitStack()

    def roster(self, *extra: Any, version: int | None = None, days: int = 100) -> bytes:
        """An envelope with the machines' and everybody's keys."""
        releaser = KeyPair.load(self.settings.releaser_key)
        keys = [
            roster_key(self.builder.public, "builder", "builder"),
            roster_key(releaser.public, "releaser", "releaser"),
            *(
                roster_key(person.key.public, person.email, "approver")
                for person in self.people.values()
            ),
            *extra,
        ]
        self.version = version or self.version + 1
        expires = format_time(datetime.now(UTC) + timedelta(days=days))
        return sign_roster(Roster(self.version, expires, tuple(keys)), self.root)

    async def add(self, email: str, role: str) -> Person:
        """Create a person and log him in."""
        person = Person(self, email, KeyPair.generate())
        admin = self.people["admin@bank.example"]
        await admin.post(
            "/users", {"name": email, "email": email, "password": PASSWORD, "role": role}
        )
        await self.log_in(person)
        self.people[email] = person
        return person

    def now(self) -> datetime:
        """Now."""
        return datetime.now(UTC)

    def sha256(self, text: str) -> bytes:
        """What is stored of a secret."""
        return hashlib.sha256(text.encode()).digest()

    async def listen(self, redis_url: str) -> Callable[[], Awaitable[str]]:
        """Hear the doorbell: a function that waits for its next word."""
        listener = self.stack.enter_async_context(redis.Redis.from_url(redis_url))
        channel = (await listener).pubsub()
        await self.stack.enter_async_context(channel)
        await channel.subscribe("interlock:feed")

        async def next_word() -> str:
            async for message in channel.listen():
                if message["type"] == "message" and message["data"] not in {b"roster", b"keys"}:
                    return str(message["data"].decode())
            raise AssertionError("the channel closed")

        return next_word

    async def log_in(self, person: Person) -> None:
        """Open a session."""
        answer = await person.post("/login", {"email": person.email, "password": PASSWORD})
        person.token = answer["token"]


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    """The application's lifespan, entered and left by one task as its task groups demand."""
    ready, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            ready.set()
            await stop.wait()

    task = asyncio.create_task(live())
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    try:
        if not task.done():
            yield
    finally:
        stop.set()
        await task


@pytest.fixture
def control_settings(
    role_url: Callable[[str], str],
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ControlSettings:
    """Settings of a control plane in a home of its own, with no more rights than it needs.

    Passwords are hashed with the smallest cost: each test creates and logs in five people.
    """
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 8, 1))
    root = KeyPair.generate()
    root.save(tmp_path / "root.key")
    KeyPair.generate().save(tmp_path / "releaser.key")
    (tmp_path / "bootstrap.token").write_text("open sesame\n")
    return ControlSettings(
        database_url=role_url("interlock_control"),
        redis_url=redis_url,
        artifact_store=str(tmp_path / "artifacts"),
        home=tmp_path,
        root_key=b64(root.public),
        releaser_key=tmp_path / "releaser.key",
        bootstrap_token_file=tmp_path / "bootstrap.token",
        pool_size=4,
    )


@pytest.fixture
async def house(control_settings: ControlSettings) -> AsyncIterator[House]:
    """A control plane with its first superadmin."""
    app = build_app(control_settings)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        running(app),
        httpx.AsyncClient(transport=transport, base_url="http://control") as client,
    ):
        root = KeyPair.load(control_settings.home / "root.key")
        house = House(client, app, control_settings, root)
        admin = Person(house, "admin@bank.example", KeyPair.generate())
        await admin.post(
            "/bootstrap",
            {
                "token": "open sesame",
                "name": "Ada",
                "email": admin.email,
                "password": PASSWORD,
            },
        )
        await house.log_in(admin)
        house.people[admin.email] = admin
        async with house.stack:
            yield house


@pytest.fixture
async def staff(house: House) -> dict[str, Person]:
    """Four people of the four roles and a second manager, all with enrolled keys."""
    people = {
        "admin": house.people["admin@bank.example"],
        "scientist": await house.add("dan@bank.example", "data_scientist"),
        "manager": await house.add("mia@bank.example", "manager"),
        "second": await house.add("max@bank.example", "manager"),
        "compliance": await house.add("cora@bank.example", "compliance_manager"),
    }
    answer = await people["admin"].call("PUT", "/roster", house.roster())
    assert answer.status == 200, answer.raw
    return people


@pytest.fixture
def packages(house: House) -> Callable[..., Awaitable[tuple[int, str]]]:
    """Register a version with a package as somebody: its number and digest."""

    async def register(model: str, by: Person, **changes: Any) -> tuple[int, str]:
        pool = house.app.state.pool
        async with pool.transaction() as connection:
            version = await service.reserve_version(connection, model, by.email)
            raw = encode_manifest(manifest_of(model, version, by.email, **changes))
            digest = package_digest(raw)
            await service.register_package(connection, model, version, digest, raw, None)
        return version, digest

    return register


@pytest.fixture
async def submitted(staff: dict[str, Person], packages: Any) -> str:
    """Path of a version that waits for approval and was read by everybody who may judge."""
    await packages("quick", staff["scientist"])
    path = "/models/quick/versions/1"
    await staff["scientist"].post(path + "/submit")
    for judge in ("manager", "second", "compliance"):
        await staff[judge].read_reports(path)
    return path


@pytest.fixture
async def proposed(staff: dict[str, Person], submitted: str) -> str:
    """Path of a release that the manager edited and proposed; its model is approved."""
    await staff["second"].approve(submitted)
    manager = staff["manager"]
    await manager.post("/endpoints", {"name": "credit"})
    rules = {"text": "IF amount < 2000 THEN quick ELSE quick"}
    draft = {"rules": rules, "models": {"quick": 1}}
    await manager.call("PUT", "/endpoints/credit/draft", draft, If_Match='"0"')
    body = {"justification": "first"}
    return "/releases/" + (await manager.post("/endpoints/credit/releases", body))["id"]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    """The database as its owner."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def untouched(db: Any) -> Callable[..., AbstractAsyncContextManager[None]]:
    """A block that must leave every row of every table as it was."""

    async def contents(but: str) -> dict[str, str]:
        names = await db.fetch(
            "SELECT relname AS name FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        )
        return {
            row["name"]: await db.fetchval(
                f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {row['name']} t"
            )
            for row in names
            if row["name"] not in READING and row["name"] != but
        }

    @asynccontextmanager
    async def block(but: str = "") -> AsyncIterator[None]:
        before = await contents(but)
        yield
        assert await contents(but) == before

    return block
