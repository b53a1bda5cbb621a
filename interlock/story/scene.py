"""What the chapters share: the callers, the narrator and what is remembered between two runs."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from compiler.signing import KeyPair, sign, unb64
from interlock.home import Home
from interlock.stack.secrets import write_private
from interlock.story.cast import Person
from interlock.story.client import Answer, Client, StoryStoppedError
from interlock.story.narrator import Narrator, StoryBrokenError


class Memory(Struct):
    """What a second run needs; kept in ``secrets/story.json``, 0600."""

    passwords: dict[str, str] = {}
    key: str = ""
    key_id: str = ""


class Scene:
    """The stage of one run.

    Args:
        home: keys of people and the memory.
        control_url: base URL of the control plane.
        router_url: base URL of the data plane.
        workers: router processes of the stack.
        narrator: prints.
        stopped: set when the story shall end.
    """

    def __init__(
        self,
        home: Home,
        *,
        control_url: str,
        router_url: str,
        workers: int,
        narrator: Narrator,
        stopped: threading.Event,
    ) -> None:
        self.home = home
        self.router_url = router_url
        self.control_url = control_url
        self.workers = workers
        self.narrator = narrator
        self.stopped = stopped
        self.anyone = Client(control_url, stopped=stopped)
        self._clients: dict[str, Client] = {}
        self._file = home.secrets / "story.json"
        self.memory = (
            msgspec.json.decode(self._file.read_bytes(), type=Memory)
            if self._file.exists()
            else Memory()
        )

    def remember(self) -> None:
        """Keep passwords and the routing key for the next run."""
        write_private(self._file, msgspec.json.encode(self.memory))

    def password(self, person: Person) -> str:
        """The person's password, made up at the first call."""
        if person.email not in self.memory.passwords:
            self.memory.passwords[person.email] = secrets.token_urlsafe(16)
            self.remember()
        return self.memory.passwords[person.email]

    def signing_key(self, person: Person) -> KeyPair:
        """The person's own key, made at the first call; it never leaves this machine."""
        path = self.home.person_key(person.email)
        if not path.exists():
            KeyPair.generate().save(path)
        return KeyPair.load(path)

    def client(self, person: Person) -> Client:
        """The control plane as this person, signed in at the first call."""
        if person.email not in self._clients:
            answer = self.anyone.call(
                "POST",
                "/api/login",
                {"email": person.email, "password": self.password(person)},
            )
            if answer.status not in (200, 201):
                raise StoryBrokenError(f"{person.email} could not sign in", at=str(answer.body))
            self._clients[person.email] = Client(
                self.control_url, token=answer.body["token"], stopped=self.stopped
            )
        return self._clients[person.email]

    def ask(
        self,
        who: Person,
        method: str,
        path: str,
        body: Any = None,
        *,
        show: Any = None,
        **more: Any,
    ) -> Answer:
        """Ask the control plane as one person, and print both sides.

        Args:
            who: the caller.
            method: HTTP method.
            path: path and query.
            body: JSON or bytes.
            show: printed instead of the body.
            more: as for :meth:`Client.call`.
        """
        self.narrator.asked(who.name, method, path, body if show is None else show)
        return self.client(who).call(method, path, body, **more)

    def read(self, who: Person, path: str) -> Any:
        """Body of a GET that has to succeed; not printed.

        Raises:
            StoryBrokenError: it did not.
        """
        answer = self.client(who).call("GET", path)
        if answer.status != 200:
            raise StoryBrokenError(
                f"GET {path} by {who.name} answered {answer.status}", at=str(answer.body)[:400]
            )
        return answer.body

    def tell(self, answer: Answer, *fields: str) -> Answer:
        """Print what came back, only these fields if named."""
        shown = None
        if fields and answer.status < 400 and isinstance(answer.body, dict):
            shown = {name: answer.body.get(name) for name in fields}
        elif answer.status >= 400 and isinstance(answer.body, dict):
            wanted = ("code", "detail", "errors", "hint")
            shown = {name: answer.body[name] for name in wanted if answer.body.get(name)}
        self.narrator.answered(answer, shown)
        return answer

    def sign_statement(self, person: Person, statement: Any) -> Any:
        """The envelope of a statement worded by the control plane, signed with the person's key."""
        payload = unb64(statement["payload"])
        envelope = sign(statement["payload_type"], payload, self.signing_key(person))
        return msgspec.json.decode(envelope)

    def wait_for(
        self, what: str, look: Callable[[], Any], *, longest_s: float = 30.0, pause_s: float = 0.05
    ) -> Any:
        """Look until there is something.

        Raises:
            StoryBrokenError: it never came.
            StoryStoppedError: the story shall end.
        """
        deadline = time.monotonic() + longest_s
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > deadline:
                raise StoryBrokenError(f"waited {longest_s:.0f} s in vain for {what}")
            if self.stopped.wait(pause_s):
                raise StoryStoppedError
