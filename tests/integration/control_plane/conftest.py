"""A running control plane on a real database, and people who use it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import AsyncTestClient

from compiler.identity import Roster, roster_key, sign_roster
from compiler.signing import KeyPair, b64, sign
from compiler.statements import format_time
from control_plane.app import build_app
from control_plane.settings import ControlSettings

PASSWORD = "a long sentence nobody guesses"


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

    def sign(self, statement: dict[str, Any], **changes: Any) -> dict[str, str]:
        """The body of an approval: the statement, signed with this person's key."""
        payload = base64.b64decode(statement["payload"])
        if changes:
            document = msgspec.json.decode(payload) | changes
            payload = msgspec.json.encode(document, order="sorted")
        return {"envelope": sign(statement["payload_type"], payload, self.key).decode()}


class House:
    """The control plane with its keys and people."""

    def __init__(self, client: Any, settings: ControlSettings, root: KeyPair) -> None:
        self.client = client
        self.settings = settings
        self.root = root
        self.builder = KeyPair.generate()
        self.version = 0
        self.people: dict[str, Person] = {}

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

    async def log_in(self, person: Person) -> None:
        """Open a session."""
        answer = await person.post("/login", {"email": person.email, "password": PASSWORD})
        person.token = answer["token"]


@pytest.fixture
def control_settings(database_url: str, redis_url: str, tmp_path: Path) -> ControlSettings:
    """Settings of a control plane in a home of its own."""
    root = KeyPair.generate()
    root.save(tmp_path / "root.key")
    KeyPair.generate().save(tmp_path / "releaser.key")
    (tmp_path / "bootstrap.token").write_text("open sesame\n")
    return ControlSettings(
        database_url=database_url,
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
    async with AsyncTestClient(build_app(control_settings)) as client:
        house = House(client, control_settings, KeyPair.load(control_settings.home / "root.key"))
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
