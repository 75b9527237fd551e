"""How is the chat server set up? One configuration, written for `make run` and for the tests.

All of it binds 127.0.0.1 on given ports, has no link to other servers, keeps no archive, and lives
in its own directory. Customers are accounts of `domain`; the bank speaks as a component.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from notifiers.errors import ProsodyFailed
from notifiers.xmpp import XmppAddress

HOST = "127.0.0.1"
_CONFIGURATION = """-- Written by Ringback; changes are overwritten at the next start.
{run_as_root}pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
certificates = "{directory}/certs"
plugin_paths = {{}}
network_backend = "{backend}"
network_settings = {{ nagle = false }}
log = {{ info = "{directory}/prosody.log" }}
interfaces = {{ "{host}" }}
local_interfaces = {{ "{host}" }}
c2s_interfaces = {{ "{host}" }}
component_interfaces = {{ "{host}" }}
http_interfaces = {{ "{host}" }}
c2s_ports = {{ {client_port} }}
component_ports = {{ {component_port} }}
http_ports = {{ {web_port} }}
s2s_ports = {{}}
https_ports = {{}}
legacy_ssl_ports = {{}}
c2s_direct_tls_ports = {{}}
modules_enabled = {{
  "roster"; "saslauth"; "tls"; "disco"; "carbons"; "pep"; "blocklist"; "ping"; "mam";
  "smacks"; "websocket"; "offline"; "posix"; "groups";
}}
modules_disabled = {{ "s2s"; "admin_telnet"; "admin_shell"; "http_files" }}
groups_file = "{directory}/groups"
-- The bank's questions are not for keeping: nobody's archive holds codes, amounts and payees.
default_archive_policy = false
archive_expires_after = "1d"
-- By default memory is looked through all the time: more than half of what a message costs.
gc = {{ mode = "incremental", threshold = 300, speed = 500 }}
authentication = "internal_hashed"
storage = "internal"
c2s_require_encryption = {encrypt}
allow_unencrypted_plain_auth = false
consider_websocket_secure = true
cross_domain_websocket = {{ {origins} }}
allow_registration = false
-- A new leader's connection ends the old one, so that a stopped one can't speak when it goes on.
component_conflict_resolve = "kick_old"
component_tcp_keepalives = true

VirtualHost "{domain}"
  http_host = "localhost"

Component "{component}"
  component_secret = "{secret}"
  component_conflict_resolve = "kick_old"

Component "{rooms}" "muc"
  restrict_room_creation = "admin"
  admins = {{ "{bot}" }}
  muc_room_default_persistent = true
  muc_room_default_members_only = true
  muc_room_default_history_length = 0
  max_history_messages = 20
"""


@dataclass(frozen=True)
class ProsodySettings:
    """Where the chat server lives and listens. Ports above 1024, so that no root is needed."""

    directory: Path
    domain: str
    secret: str
    client_port: int
    component_port: int
    web_port: int
    origins: tuple[str, ...] = ()
    encrypt: bool = False
    bot_name: str = "Bank"

    @property
    def component(self) -> str:
        return f"challenge.{self.domain}"

    @property
    def rooms(self) -> str:
        return f"rooms.{self.domain}"

    @property
    def websocket(self) -> str:
        """The address that a browser's chat client connects to."""
        return f"ws://{HOST}:{self.web_port}/xmpp-websocket"

    def address(self, name: str = "Bank") -> XmppAddress:
        """Give what the notifier needs to connect."""
        return XmppAddress(
            HOST, self.component_port, self.secret, self.component, self.domain, name
        )


def available() -> bool:
    """Say whether Prosody is installed."""
    return _program("prosody") is not None and _program("prosodyctl") is not None


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin")


class Prosody:
    """One chat server: `start`, `register`, `stop`. Ended by its own pid, never by name."""

    def __init__(self, settings: ProsodySettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.settings.directory / "prosody.cfg.lua"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ProsodyFailed("prosody: it is not running; call start first")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write_config(self) -> Path:
        """Write the configuration and its directories; gives the file."""
        made = self.settings
        for name in ("data", "certs"):
            (made.directory / name).mkdir(parents=True, exist_ok=True)
        made.directory.chmod(0o700)
        address = made.address()
        text = _CONFIGURATION.format(
            directory=_lua(str(made.directory.resolve())),
            host=HOST,
            backend="epoll",
            client_port=made.client_port,
            component_port=made.component_port,
            web_port=made.web_port,
            domain=_lua(made.domain),
            component=_lua(made.component),
            rooms=_lua(made.rooms),
            secret=_lua(made.secret),
            bot=_lua(address.alerts),
            origins=", ".join(f'"{_lua(origin)}"' for origin in made.origins),
            encrypt="true" if made.encrypt else "false",
            run_as_root="run_as_root = true\n" if os.getuid() == 0 else "",
        )
        self.config.write_text(text)
        self.config.chmod(0o600)
        # The bank in every roster: many clients send receipts to contacts only.
        (made.directory / "groups").write_text(
            f"[+{made.bot_name}]\n{address.bot}={made.bot_name}\n"
        )
        return self.config

    def command(self) -> list[str]:
        """Write the configuration, and give the line that runs the server with it."""
        program = _program("prosody")
        if program is None:
            raise ProsodyFailed("prosody: not installed; as root, apt-get install prosody")
        return [program, "-F", "--config", str(self.write_config())]

    def start(self, seconds: float = 60.0) -> None:
        """Start, and wait until both ports listen."""
        line = self.command()
        with (self.settings.directory / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        end = time.monotonic() + seconds
        waiting = [self.settings.client_port, self.settings.component_port]
        while waiting and time.monotonic() < end and self.running:
            waiting = [port for port in waiting if not _listens(port)]
            if waiting:
                time.sleep(0.05)
        if waiting:
            words = self._last_words()
            self.stop()
            raise ProsodyFailed(f"prosody: ports {waiting} did not listen: {words}")

    def register(self, user: str, password: str) -> None:
        """Create an account of the domain, or give it this password."""
        program = _program("prosodyctl")
        if program is None:
            raise ProsodyFailed("prosodyctl: not installed; as root, apt-get install prosody")
        done = subprocess.run(
            [
                program,
                "--config",
                str(self.config),
                "register",
                user,
                self.settings.domain,
                password,
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode != 0:
            raise ProsodyFailed(f"prosodyctl register {user}: {done.stderr or done.stdout}")

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)

    def _last_words(self) -> str:
        words = []
        for name in ("output.log", "prosody.log"):
            path = self.settings.directory / name
            if path.exists():
                words.append(path.read_text(errors="replace")[-1500:])
        return "\n".join(words) or "it said nothing"


def _lua(text: str) -> str:
    """Make a text safe inside a Lua string in double quotes."""
    if any(ord(char) < 32 for char in text):
        raise ProsodyFailed(f"prosody: a setting may hold no control character, got {text!r}")
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.5):
            return True
    except OSError:
        return False
