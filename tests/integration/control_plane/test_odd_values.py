"""Values that fit the type and not the world: each is answered, none is a server error."""

from __future__ import annotations

from urllib.parse import quote

from control_plane.paging import write_cursor

HUGE = 10**30
NO_ID = "ffffffff-ffff-7fff-bfff-ffffffffffff"


PATHS = (
    f"/audit/records?version={HUGE}",
    "/audit/records?release=-1",
    "/audit/records?until=9999-12-31T23:59:59.999999",
    "/audit/records?since=0001-01-01T00:00:00",
    "/audit/records?endpoint=%00",
    f"/audit/records?cursor={write_cursor(NO_ID)}",
    f"/audit/records/{NO_ID}",
    f"/validations?version={HUGE}",
    "/validations/not-an-id",
    f"/jobs/{NO_ID}/log?after={HUGE}",
    "/jobs?state=%00",
    "/jobs?cursor=" + write_cursor("2026-01-01T00:00:00", NO_ID),
    f"/datasets?cursor={write_cursor(HUGE)}",
    f"/datasets/{quote('a/b', safe='')}",
    "/datasets/%00",
    f"/datasets/x/snapshots?cursor={write_cursor(-HUGE)}",
    f"/models/m/versions/{HUGE}/compliance",
    "/models/m/versions/1/compliance?at=2026-01-01T00:00:00",
    f"/runs/{NO_ID}/trials?cursor={write_cursor(HUGE)}",
    "/runs?model=%00",
)


async def test_odd_values_are_answered_without_a_server_error(staff):
    for path in PATHS:
        for person in (staff["manager"], staff["scientist"]):
            answer = await person.call("GET", path)
            assert answer.status < 500, (path, answer.raw)


async def test_api_document_describes_every_route(house):
    answer = await house.client.get("/docs/openapi.json")
    assert answer.status_code == 200
    paths = answer.json()["paths"]
    for wanted in ("/api/runs/{run}", "/api/datasets/{name}/imports", "/api/validations",
                   "/api/models/{model}/versions/{version}/compliance/score",
                   "/api/audit/records/{record}"):  # fmt: skip
        assert wanted in paths
