"""The deployment's settings: ``DIR/towpath.toml``, overridden by ``TOWPATH_*`` variables.

A nested value is written ``TOWPATH_HTTP__PORT=8443``. The words under each setting are its
reason in ``docs/reference/configuration.md``. Only the composition (``towpath.cli``) loads
settings; everything else is handed the section that it needs.
"""

import ipaddress
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from towpath.platform.files import private_directory, write_private

MEBIBYTE = 1024 * 1024
LONGEST_LEASE_S = 60.0
HIGHEST_PORT = 65535
SETTINGS_FILE = "towpath.toml"


class SettingsError(Exception):
    """The settings cannot be used; the message says which one and why."""


class Section(BaseModel):
    """One table of ``towpath.toml``. An unknown key is an error: it would be silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(Section):
    """Where the state lives."""

    url: str | None = None
    """A `postgresql://` URL. Without it an embedded PostgreSQL runs in `DIR/postgres`."""
    pool_size: int = Field(default=10, ge=1, le=200)
    """Connections that each process may hold for each service. Enough for a worker's tasks and a
    busy API; the server's `max_connections` must leave room for all processes.
    """


class HttpSettings(Section):
    """How the API is served."""

    host: str = "127.0.0.1"
    """Only this machine, until somebody decides otherwise. `"0.0.0.0"` or `"::"` for all
    addresses.
    """
    port: int = Field(default=8443, ge=0, le=65535)
    """Needs no root. `0` picks a free port, for tests."""
    cert: Path | None = None
    """Your certificate, PEM, with its chain. Without it the deployment's own authority issues
    one, and clients must trust `DIR/tls/ca.pem`.
    """
    key: Path | None = None
    """Its key, PEM. Both or neither."""
    names: tuple[str, ...] = ()
    """Further host names and addresses for the deployment's certificate. The first one also names
    the service when `http.host` is a wildcard.
    """
    max_body_bytes: int = Field(default=32 * MEBIBYTE, ge=1024)
    """32 MiB: a batch of 100,000 items with long paths fits; more is an attack or a mistake."""


class DialSettings(Section):
    """Which addresses the service may connect to."""

    allow_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Private networks where your GridFTP servers are. Empty, because a user who may name any
    address could reach into your network through the service.
    """
    allow_loopback: bool | Literal["auto"] = "auto"
    """`auto`: only while the API is bound to loopback itself, as on a laptop or in a test. `true`
    or `false` decide it.
    """


class SamplesSettings(Section):
    """The sample endpoints, go#ep1 and go#ep2."""

    enabled: bool | Literal["auto"] = "auto"
    """`auto`: while the service may connect to loopback (see `dial.allow_loopback`), where they
    are. `true` or `false` decide it.
    """


class GridftpSettings(Section):
    """How long a GridFTP server may take, in seconds."""

    connect_s: float = Field(default=20.0, gt=0)
    """A lost packet or two are repeated within it."""
    login_s: float = Field(default=60.0, gt=0)
    """Busy servers make a process and look a user up over the network for each login."""
    reply_s: float = Field(default=60.0, gt=0)
    """For a command that reads no file's data, such as a listing of a slow file system."""
    stall_s: float = Field(default=60.0, gt=0)
    """A transfer without any sign of progress for so long is cut and resumed. Raise it where
    files come from tape.
    """
    access_every_s: float = Field(default=30.0, gt=0)
    """How often it is looked whether a guest may still do what his sessions do. Who is kept out
    from now on by changed rules is out after so long; who has left a group, up to 20 s later.
    """


class EngineSettings(Section):
    """How transfers run; defaults are the design's numbers."""

    workers: int = Field(default=1, ge=0, le=64)
    """Worker processes that `towpath up` keeps running. One worker keeps two cores of server
    busy; more for many tasks at once. More can run beside it (`towpath worker`).
    """
    lease_s: float = Field(default=15.0, gt=0, le=LONGEST_LEASE_S)
    """How long a worker that vanished keeps its tasks from others. Shorter: more renewals, and
    tasks lost to a slow database. At most a minute: a lease that seems to last longer was dated
    by a clock that has been set back.
    """
    renew_s: float = Field(default=5.0, gt=0)
    """At most half of `lease_s`, so that one late renewal loses nothing."""
    settle_s: float = Field(default=10.0, ge=0)
    """How long a contested path must have stood still before it is compared or written again.
    Longer than any pause of a slow server between two writes.
    """
    retry_first_s: float = Field(default=2.0, gt=0)
    """What failed, a file or a whole task, is tried again after about so long: a hiccup is over by
    then. Each further failure in a row doubles it, and chance shortens it by up to half, so that
    tasks that failed together do not come back together.
    """
    retry_max_s: float = Field(default=300.0, gt=0)
    """The longest of these waits: a place that stays broken is left in peace, and one that was
    mended is found within five minutes.
    """
    poll_s: float = Field(default=5.0, gt=0)
    """Workers are woken by notification; this is for the one that was missed."""
    tasks_per_worker: int = Field(default=8, ge=1, le=1000)
    """Each task has a few sessions at two servers open."""
    in_flight_files: int = Field(default=100, ge=1, le=10_000)
    """Files of a lane whose commands were sent and not answered: what may have to be sent again
    after a fault. Raise it where the round trip is long (about two round trips' worth of files);
    a server queues 1,000 commands, and a file needs up to three.
    """
    in_flight_bytes: int = Field(default=256 * MEBIBYTE, ge=1)
    """256 MiB: the same bound in bytes, for files and for ranges."""
    lanes: int = Field(default=2, ge=1, le=64)
    """Lanes of a task for small files; one more is for large files. Each costs a process at both
    servers.
    """
    lane_idle_s: float = Field(default=5.0, gt=0)
    """A lane without work for so long ends its sessions, which are processes at both servers.
    Longer where a login is dear.
    """
    streams: int = Field(default=1, ge=1, le=64)
    """Data connections of a lane. More help on long paths with loss, and cost on short ones."""
    plan_entries: int = Field(default=100_000, ge=1)
    """Entries of a plan (`POST /transfer/plan`, `/delete/plan`); what has more cannot be planned.
    At most 40 MB of database for a plan.
    """
    plan_window: int = Field(default=1_000_000, ge=1)
    """Unfinished files at which the walk pauses: at most 250 MB of database for a task."""
    listings_at_once: int = Field(default=16, ge=1, le=400)
    """Directories of a task that are listed at once where a server is far (10 ms and more there
    and back), by one more session at each end; near ones are listed one by one. So many at
    most are listed again after a crash.
    """
    sync_directory: int = Field(default=200_000, ge=0)
    """Entries of destination directories that a task keeps while they are compared with the
    source's; where there is no room for a directory, each of its files is asked for by itself.
    200,000 are 100 MB.
    """
    delete_sessions: int = Field(default=2, ge=1, le=16)
    """Sessions of a task that delete at once; as many again list what is next. Two delete a quarter
    more together than one; more than two only wait for each other in the server's kernel.
    """
    record_every_s: float = Field(default=0.2, gt=0)
    """An outcome is committed at most this late; what a crash makes us send again grows with it."""
    events_per_task: int = Field(default=10_000, ge=100)
    """Rows of a task's event list. More would drown what matters, and grow the database with a
    broken endpoint. When they are used up, each kind of event has one more row, the latest, that
    counts the others.
    """
    deadline_after_progress_h: float = Field(default=72.0, gt=0)
    """A transfer that moves is not given up: a deadline that its owner did not give is at least
    so many hours after its last progress. As in the Globus service.
    """
    progress_every_s: float = Field(default=60.0, gt=0)
    """How often a task that runs tells of its progress. Of a long task, older ones are put
    together.
    """


class LimitSettings(Section):
    """What one owner may ask for."""

    active_tasks_per_owner: int = Field(default=100, ge=1)
    """Unfinished tasks; one more is refused with 409. Keeps a script that went wild from filling
    the database.
    """
    running_tasks_per_owner: int = Field(default=8, ge=1)
    """Tasks of one owner that run at once, transfers and deletes each. The others wait their
    turn.
    """
    deadline_h: float = Field(default=24.0, gt=0)
    """Hours until a task is given up whose owner does not say when. A transfer that still waits
    for its turn is kept so far from it. As in the Globus service; more where storage is down for
    days.
    """
    paused_deadline_h: float = Field(default=2160.0, gt=0)
    """Hours until a paused task is given up whose owner did not say when: 90 days, as in the Globus
    service. When it is resumed, `deadline_h` counts anew.
    """
    items_per_task: int = Field(default=100_000, ge=1)
    """Items of a submission. A directory is one item, whatever is in it."""
    requests_per_owner: int = Field(default=6000, ge=1)
    """Requests to the Transfer API in a minute, by one owner, at each API process: a hundred a
    second, and so many at once after a pause. The SDK's calls and pages come one after the other,
    and a hundred scripts that wait for their tasks ask once a second. More is answered with 429
    and `Retry-After`, which the SDK heeds.
    """
    refusals_per_address: int = Field(default=600, ge=1)
    """Requests in a minute, from one address, whose token is not accepted. Then 429 answers all
    whose token was not accepted a moment before, for each costs a question at the identity service.
    Behind a proxy all users have one address.
    """
    plans_per_owner: int = Field(default=10, ge=1)
    """Plans that one owner may keep; one more is refused with 409."""
    plan_time_h: float = Field(default=1.0, gt=0)
    """Hours that the walk of a plan may take: who waits for longer wants to know why."""
    plan_lifetime_h: float = Field(default=24.0, gt=0)
    """Hours until a plan that nobody has applied is removed: what it says is old by then."""


class SharingSettings(Section):
    """What may be shared with others."""

    anonymous_writes: bool = False
    """Whether access rules may let everybody write who is not even logged in. Nobody could be asked
    what he has left there.
    """
    rules_per_collection: int = Field(default=1000, ge=1, le=10_000)
    """Access rules of a guest collection, as in the Globus service. Who needs more makes a group.
    """


class TimerSettings(Section):
    """What one owner may ask of Timers."""

    timers_per_owner: int = Field(default=100, ge=1, le=10_000)
    """Timers that are not over; one more is refused with 409. Each is a task as often as its owner
    likes: more would only be tasks that wait for each other.
    """
    items_per_timer: int = Field(default=1000, ge=1, le=100_000)
    """Items of a timer's transfer, which are kept for all its life. A directory is one item,
    whatever is in it.
    """
    shortest_interval_s: int = Field(default=60, ge=1)
    """From one run to the next at least. A run is a task with logins at two servers, which takes
    seconds for nothing to do.
    """


class PeopleSettings(Section):
    """Who can have an account, and for how long a login holds."""

    service_name: str = Field(default="Towpath", min_length=1, max_length=60)
    """What the pages call the service, and the identity provider of local accounts."""
    domain: str | None = Field(default=None, pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    """Names of local accounts end in it: `NAME@DOMAIN`. Without it the host's name. A change is for
    new accounts; those that are there keep their names.
    """
    sign_up: Literal["open", "invited", "closed"] = "invited"
    """Who may make a local account. `"open"`: everybody who can read mail at the address that they
    give. `"invited"`: who has an administrator's link. `"closed"`: nobody; administrators make
    accounts with `towpath admin user add`.
    """
    password_length: int = Field(default=15, ge=8, le=64)
    """Characters that a password must have at least. 15 is what NIST SP 800-63B-4 asks for where
    the password is the only thing that is asked for; 8 beside another one.
    """
    session_idle_h: float = Field(default=24.0, gt=0)
    """Hours after which a browser that was not used is logged out: a day of work and the night."""
    session_lifetime_h: float = Field(default=336.0, gt=0)
    """Hours after which a browser is logged out, used or not: two weeks. NIST SP 800-63B-4 allows
    30 days.
    """
    logins_at_once: int = Field(default=2, ge=1, le=64)
    """Passwords that are checked at the same time; each takes a core and 19 MiB for about 30 ms.
    More logins wait a moment.
    """


class MailSettings(Section):
    """How mail to people is sent."""

    host: str | None = None
    """Your SMTP server. Without it, mails are written to `DIR/mail`, where you find them."""
    port: int = Field(default=587, ge=1, le=65535)
    """The port for submission (RFC 6409)."""
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    """`"implicit"` for port 465. `"none"` only for a server on this machine: mails hold links that
    set passwords.
    """
    authority: Path | None = None
    """Certificates, PEM, that your server's certificate is checked against, if it is not from an
    authority that this machine trusts anyway.
    """
    username: str | None = None
    """If the server wants a login."""
    password: SecretStr | None = None
    """Its password; better given as `TOWPATH_MAIL__PASSWORD`."""
    sender: str | None = None
    """The address that mails come from. Without it `towpath@` and `people.domain`."""


class NotifySettings(Section):
    """How people are told what became of their tasks, by mail and through webhooks."""

    give_up_h: float = Field(default=72.0, gt=0, le=720)
    """Hours for which a mail or a webhook is tried again while a server is away: a long weekend.
    Then it is given up, and the log says so.
    """
    disable_webhook_h: float = Field(default=24.0, gt=0)
    """A webhook that has failed for so many hours, and at least 10 times in a row, is switched off,
    and its owner is told by mail.
    """
    allow_http: bool = False
    """Whether webhooks may go to `http://` addresses: what is told can then be read on the way.
    For tests, and for networks of your own.
    """


class RelaySettings(Section):
    """Where agents (`towpath connect`) that nobody can dial meet the service."""

    host: str | None = None
    """What agents and GridFTP servers dial: a name or an address of this machine. Without it the
    host in the service's own address.
    """
    port: int = Field(default=0, ge=0, le=65535)
    """The one port that agents dial. `0`: a free one, which stays the same from then on. 443 gets
    through most firewalls.
    """
    data_ports: tuple[int, int] | None = None
    """First and last port that the relay listens on in an agent's place, for GridFTP servers that
    know nothing of relays: `[50000, 51000]`, to be opened in the firewall. Without it any free
    ones.
    """

    @field_validator("data_ports")
    @classmethod
    def _a_range(cls, ports: tuple[int, int] | None) -> tuple[int, int] | None:
        if ports is not None and not 0 < ports[0] <= ports[1] <= HIGHEST_PORT:
            raise ValueError("data_ports is a first and a last port")
        return ports


class LogSettings(Section):
    """Structured logs in ``DIR/log``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is written at least; `"warning"` for a quiet service."""
    max_bytes: int = Field(default=10 * MEBIBYTE, ge=64 * 1024)
    """A file in `DIR/log` is rotated at this size ..."""
    keep: int = Field(default=5, ge=1, le=100)
    """... and so many old ones are kept, for each process."""


class Settings(BaseSettings):
    """All sections. Use :meth:`load`."""

    model_config = SettingsConfigDict(
        env_prefix="TOWPATH_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    database: DatabaseSettings = DatabaseSettings()
    http: HttpSettings = HttpSettings()
    dial: DialSettings = DialSettings()
    samples: SamplesSettings = SamplesSettings()
    gridftp: GridftpSettings = GridftpSettings()
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()
    sharing: SharingSettings = SharingSettings()
    timers: TimerSettings = TimerSettings()
    people: PeopleSettings = PeopleSettings()
    mail: MailSettings = MailSettings()
    notify: NotifySettings = NotifySettings()
    relay: RelaySettings = RelaySettings()
    log: LogSettings = LogSettings()

    _toml_file: ClassVar[Path | None] = None

    @field_validator("engine")
    @classmethod
    def _lease_outlives_its_renewal(cls, engine: EngineSettings) -> EngineSettings:
        if engine.renew_s * 2 > engine.lease_s:
            raise ValueError("renew_s must be at most half of lease_s, or a late renewal loses it")
        return engine

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, then environment, then the file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        if cls._toml_file is not None:
            sources += (TomlConfigSettingsSource(settings_cls, cls._toml_file),)
        return sources

    @classmethod
    def load(cls, data_dir: Path, **overrides: dict[str, Any]) -> "Settings":
        """Read the settings of the deployment in ``data_dir``.

        ``overrides`` are sections from the command line, e.g. ``http={"port": 8443}``; they win
        over variables, which win over the file. Raises :class:`SettingsError`.
        """
        file = data_dir / SETTINGS_FILE

        class _Loaded(cls):  # type: ignore[valid-type, misc]
            _toml_file = file if file.exists() else None

        try:
            loaded = _Loaded(**overrides)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"setting {name}: {first['msg']}") from error
        except (OSError, ValueError) as error:  # unreadable file, broken TOML
            raise SettingsError(f"{file}: {error}") from error
        return cls.model_construct(
            **{name: getattr(loaded, name) for name in cls.model_fields},
        )

    @property
    def serve_samples(self) -> bool:
        """Whether there are sample endpoints (``samples.enabled`` resolved)."""
        return self.allow_loopback if self.samples.enabled == "auto" else self.samples.enabled

    @property
    def allow_loopback(self) -> bool:
        """Whether the dial policy lets loopback through (``dial.allow_loopback`` resolved)."""
        if self.dial.allow_loopback != "auto":
            return self.dial.allow_loopback
        if self.http.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.http.host).is_loopback
        except ValueError:
            return False


class DataDirectory:
    """The layout of a deployment's directory: 0700, with its secrets in 0600 files."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    @property
    def postgres(self) -> Path:
        """The embedded PostgreSQL's cluster and socket."""
        return self.root / "postgres"

    @property
    def tls(self) -> Path:
        """The deployment's CA and server certificate."""
        return self.root / "tls"

    @property
    def ca_file(self) -> Path:
        """The certificate that clients must trust."""
        return self.tls / "ca.pem"

    @property
    def secrets(self) -> Path:
        """Keys and client secrets."""
        return self.root / "secrets"

    @property
    def seal_key(self) -> Path:
        """The key under which stored credentials are encrypted."""
        return self.secrets / "seal.key"

    @property
    def operator_file(self) -> Path:
        """Id and secret of the deployment's operator client."""
        return self.secrets / "operator.json"

    @property
    def audit_checkpoint(self) -> Path:
        """The head of the audit log's chain."""
        return self.root / "audit" / "head.json"

    @property
    def run(self) -> Path:
        """What belongs to the running processes."""
        return self.root / "run"

    @property
    def state_file(self) -> Path:
        """What the running ``towpath up`` tells the other commands."""
        return self.run / "state.json"

    @property
    def lock_file(self) -> Path:
        """Held by the one ``towpath up`` of this directory."""
        return self.run / "lock"

    @property
    def relay(self) -> Path:
        """The relay's host key, and the port that it has."""
        return self.root / "relay"

    @property
    def relay_file(self) -> Path:
        """Id and secret of the relay's client, as in ``operator_file``."""
        return self.secrets / "relay.json"

    @property
    def samples(self) -> Path:
        """The sample endpoints' files and keys."""
        return self.root / "samples"

    @property
    def mail(self) -> Path:
        """Mails to people, where no SMTP server is set."""
        return self.root / "mail"

    @property
    def log(self) -> Path:
        """Structured logs."""
        return self.root / "log"

    def prepare(self) -> None:
        """Make the directories. Raises OSError."""
        for directory in (self.root, self.tls, self.secrets, self.run, self.log):
            private_directory(directory)

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace ``run/state.json`` atomically."""
        write_private(self.state_file, json.dumps(state, indent=2).encode() + b"\n")

    def read_state(self) -> dict[str, Any] | None:
        """``run/state.json``; None if ``up`` never served here. Raises OSError, ValueError."""
        try:
            state = json.loads(self.state_file.read_bytes())
        except FileNotFoundError:
            return None
        if not isinstance(state, dict):
            raise ValueError(  # noqa: TRY004 - the content is wrong, no argument is
                f"{self.state_file} is not a JSON object"
            )
        return state


def default_data_directory() -> Path:
    """``$TOWPATH_DATA``, or the user's own data directory."""
    named = os.environ.get("TOWPATH_DATA")
    if named:
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "towpath"
