"""The search for secrets in logs and addresses finds them."""

import httpx
import pytest

from plugins.secrets_seen import Seen

TOKEN = "zP0-kq3V9_sYc8Lr2Wf5tXhJb7Nd1GmQe4Ua6RiOvTw"
SECRET = "x9/Yl2+Qk7Tz4Rb8Nm1Vc6Wj3Hs5Pd0GfAeUiOqLrSs="
APP = "https://app.example/callback"


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_issued_tokens_and_secrets_are_found_in_text(seen: Seen) -> None:
    request = httpx.Request("POST", "https://h/v2/oauth2/token")
    document = {"access_token": TOKEN, "other": [{"secret": SECRET}]}
    seen.exchange(request, httpx.Response(200, json=document))
    assert seen.leaks_in("nothing of it") == []
    (told,) = seen.leaks_in(f"POST token={TOKEN} done")
    assert "a token" in told
    assert TOKEN not in told
    (told,) = seen.leaks_in(f"secret is {SECRET!r}")
    assert "a client secret" in told


def test_what_is_sent_is_searched_for_too(seen: Seen) -> None:
    login = httpx.BasicAuth("id", SECRET)
    request = next(
        login.auth_flow(httpx.Request("POST", "https://h/", data={"password": "a b c d e"}))
    )
    headers = [("Set-Cookie", f"__Host-session={TOKEN}; Path=/")]
    seen.exchange(request, httpx.Response(200, headers=headers))
    assert len(seen.leaks_in(f"{SECRET} {TOKEN} a b c d e")) == 3


def test_a_login_that_is_none_is_no_obstacle(seen: Seen) -> None:
    request = httpx.Request("GET", "https://h/", headers={"Authorization": f"Basic {TOKEN}"})
    seen.exchange(request, httpx.Response(401))
    assert len(seen.leaks_in(TOKEN)) == 1


def test_a_code_may_stand_in_the_redirect_to_the_client_alone(seen: Seen) -> None:
    request = httpx.Request("GET", "https://h/v2/oauth2/authorize/resume?request=1")
    back = f"{APP}?code={TOKEN}&state=s"
    seen.exchange(request, httpx.Response(303, headers={"Location": back}))
    seen.address(back)
    assert seen.leaks_in_addresses() == []
    for elsewhere in (f"https://h/v2/web/login?to={TOKEN}", f"{APP}?code={TOKEN}&more=1"):
        seen.address(elsewhere)
        assert len(seen.leaks_in_addresses()) == 1
    assert len(seen.leaks_in(f"path=/callback?code={TOKEN}")) == 1


def test_a_link_that_works_once_may_be_asked_for_and_not_logged(seen: Seen) -> None:
    seen.address(f"https://h/v2/web/welcome?link={TOKEN}")
    assert seen.leaks_in_addresses() == []
    assert len(seen.leaks_in(f"GET /v2/web/welcome?link={TOKEN}")) == 1
