"""The REST API, called as the deployment's operator: for commands that register things."""

import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

import click
import httpx

from towpath.cli.deployment import Deployment

SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
TIMEOUT_S = 60.0


class OperatorApi:
    """A logged-in client; every failure is a `click.ClickException` that says what to do."""

    def __init__(self, deployment: Deployment, http: httpx.Client) -> None:
        self._deployment = deployment
        self._http = http

    @classmethod
    @contextlib.contextmanager
    def connect(cls, deployment: Deployment) -> Iterator["OperatorApi"]:
        """Log in with the operator's client credentials."""
        try:
            trust = ssl.create_default_context(
                cafile=None if deployment.authority is None else str(deployment.authority)
            )
        except OSError as error:
            raise click.ClickException(
                f"cannot read the deployment's CA {deployment.authority}: {error}"
            ) from error
        with httpx.Client(
            base_url=deployment.url,
            verify=trust,
            timeout=TIMEOUT_S,
            trust_env=False,  # a proxy has no part in talking to one's own deployment
        ) as http:
            api = cls(deployment, http)
            answer = api._token(SCOPE)
            http.headers["Authorization"] = f"Bearer {answer['access_token']}"
            yield api

    def _token(self, scope: str) -> dict[str, Any]:
        deployment = self._deployment
        return self._send(
            "POST",
            "/v2/oauth2/token",
            data={"grant_type": "client_credentials", "scope": scope},
            auth=(str(deployment.client_id), deployment.client_secret),
        )

    def call(
        self, method: str, path: str, *, json: Any = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer of a Transfer route, e.g. `/endpoint`."""
        return self._send(method, f"/v0.10{path}", json=json, params=params)

    def _send(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise click.ClickException(
                f"the service at {self._deployment.url} does not answer ({error}): is"
                f" 'towpath up --data {self._deployment.directory.root}' running?"
            ) from error
        try:
            document = response.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise click.ClickException(
                f"{self._deployment.url}{path} answered {response.status_code}, and no document"
            )
        if document.get("code") == "ConsentRequired":
            # a client consents for itself, by asking; so the same is not answered again
            self._token(" ".join(document["required_scopes"]))
            return self._send(method, path, **arguments)
        if response.is_error:
            told = document.get("message") or document.get("error_description") or document
            raise click.ClickException(f"{told} ({document.get('code', response.status_code)})")
        return document
