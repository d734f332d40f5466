"""mailwicket as a service: the unit files, and restarts under a manager that holds its socket."""

import re
import signal
import smtplib
import socket
import subprocess
import threading
import urllib.request

from cases import case
from world import HERE, MAILWICKET, PASSWORD, USER, run, wait_for

UNITS = HERE.parent.parent / "docker" / "systemd"
SENDERS, MESSAGES, RESTARTS = 3, 20, 3


@case
def the_unit_files_are_sound(world):
    """As systemd itself reads them: no unknown key, and little that the service could do."""
    folder = world.path("units")
    folder.mkdir()
    for unit in UNITS.iterdir():
        text = unit.read_text()
        assert "ExecStart=/usr/local/bin/mailwicket run " in text or unit.suffix == ".socket", unit
        folder.joinpath(unit.name).write_text(text.replace("/usr/local/bin/mailwicket", MAILWICKET))
    units = sorted(folder.iterdir())
    assert [unit.name for unit in units] == ["mailwicket.service", "mailwicket.socket"]
    said = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (said.returncode, said.stdout + said.stderr) == (0, ""), said
    exposure = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", units[0]], capture_output=True, text=True)
    assert exposure.returncode == 0, exposure.stdout[-300:]
    return exposure.stdout.strip().splitlines()[-1].split(": ")[-1].split()[0] + " of 10 exposed"


class Service:
    """As systemd starts it: the socket is number 3, credentials are in a folder."""

    def __init__(self, world):
        self.world = world
        hashed = run(MAILWICKET, "hash-password", input=f"{PASSWORD}\n", text=True).stdout.strip()
        world.write("service.toml", "service.toml", mode=0o600, hash=hashed)
        world.path("credentials").mkdir(mode=0o700)
        world.path("credentials/client-secret").write_text("entra-canary-secret~value\n")
        self.socket = socket.create_server(("127.0.0.1", world.ports["smtp_service"]), backlog=200)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(world.path("notify")))
        self.notify.settimeout(30)

    def start(self):
        shell = 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" run --config "$1"'
        environment = {**self.world.environment(), "NOTIFY_SOCKET": str(self.world.path("notify")),
                       "CREDENTIALS_DIRECTORY": str(self.world.path("credentials"))}
        with open(self.world.path("log", "service.out"), "ab") as log:
            process = subprocess.Popen(["/bin/sh", "-c", shell, MAILWICKET, str(self.world.path("service.toml"))],
                                       stdin=self.socket, stdout=log, stderr=log, env=environment)
        self.world.running["service"] = process
        while b"READY=1" not in self.notify.recv(4096):
            pass
        return process


def sends(world, sender, failures):
    """As a mail server does that has a queue: told to come back later, it comes back."""
    number = 0
    while number < MESSAGES:
        try:
            with smtplib.SMTP("127.0.0.1", world.ports["smtp_service"], timeout=60) as client:
                client.login(USER, PASSWORD)
                client.sendmail(USER, USER, f"Subject: restart {sender}.{number}\r\n\r\nx\r\n")
                number += 1
        except smtplib.SMTPServerDisconnected:
            pass  # smtplib's answer to a 421; a message that was cut would come twice
        except smtplib.SMTPResponseException as error:
            if error.smtp_code not in (421, 454):
                failures.append(error)
                return
        except (OSError, smtplib.SMTPException) as error:
            failures.append(error)
            return


@case
def restarts_refuse_nobody_and_lose_nothing(world):
    service, failures = Service(world), []
    process = service.start()
    threads = [threading.Thread(target=sends, args=(world, sender, failures)) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    wanted = {f"restart {sender}.{number}" for sender in range(SENDERS) for number in range(MESSAGES)}
    subjects = []

    def arrived():
        for message in world.delivered():
            subjects.extend(re.findall(rb"(?m)^Subject: (restart \S+)", message))
        return len(subjects)
    for restart in range(1, RESTARTS + 1):
        wait_for("messages on the way", lambda: failures or arrived() >= restart * len(wanted) // (RESTARTS + 2), 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0  # as systemd does; who comes meanwhile waits in the socket's queue
        process = service.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures
    wait_for("every message", lambda: arrived() >= len(wanted), 60)
    assert sorted(subject.decode() for subject in subjects) == sorted(wanted), "some are lost, or came twice"
    said = world.log("service.out")
    assert said.count('event="stopped" cut=0') == RESTARTS, "a session was cut"


@case
def operators_can_look(world):
    """Of the service that the case before has left running."""
    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{world.ports['status']}{path}", timeout=10) as answer:
            return answer.read().decode()
    assert "ready" in get("/readyz")
    metrics = get("/metrics")
    for name in ("mailwicket_sessions_total", "mailwicket_logins_total", "mailwicket_relay_bytes_total",
                 "mailwicket_token_left_seconds", "mailwicket_upstream_auth_seconds"):
        assert name in metrics, f"no {name}:\n{metrics}"
    for word in ("canary", "eyJ"):
        assert word not in metrics + get("/"), "a secret is shown"
    assert world.stop("service") == 0
