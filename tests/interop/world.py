"""The servers around mailwicket: started in a folder of their own, ended by pid."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
NOBODY = 65534
MAILWICKET = os.environ["MAILWICKET"]
# Every secret here has "canary" in it: no_secret_anywhere looks for that.
USER, PASSWORD = "scanner@contoso.test", "local-canary-password"
PROXY_PASSWORD = "proxy-canary-password"
# A name for the same mailbox, and a password that each protocol has to quote in its own way.
ODD_USER, ODD_PASSWORD = "contoso\\kamera", 'odd canary "w\u00f6rd" \\ {7} %'
# Opens every other mailbox, as Entra judges it; the odd one does too.
ENTRA_PASSWORD = "entra-canary-password"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, ready, seconds=20):
    """Waits until `ready` is true; servers that others wrote have no other way to tell."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {seconds} s")
        time.sleep(0.02)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, **options)


class World:
    def __init__(self):
        self.work = Path(tempfile.mkdtemp(prefix="mailwicket-interop-"))
        self.work.chmod(0o755)
        # The servers' ports, mailwicket's that go through squid, and those that do not.
        names = ("entra", "submission", "imaps", "pop3s", "squid", "smtp", "imap", "pop3", "forbidden",
                 "imap_direct", "pop3_direct", "smtp_tls", "smtps", "imap_tls", "pop3_tls", "oidc", "imap_identity", "smtp_service", "status",
                 "login_squid", "login_smtp", "kdc", "kdc_closed",
                 "squid_tls", "squid_alone", "tinyproxy", "dante", "bump", "smtp_way", "imap_way")
        self.ports = {name: free_port() for name in names}
        self.running = {}

    def path(self, *parts):
        return self.work.joinpath(*parts)

    def write(self, target, template, mode=0o644, **more):
        text = (HERE / "servers" / template).read_text().format(work=self.work, **self.ports, **more)
        self.path(target).write_text(text)
        self.path(target).chmod(mode)

    def log(self, name):
        path = self.path("log", name)
        return path.read_text(errors="replace") if path.exists() else ""

    # Starting and ending ------------------------------------------------------------------------

    def set_up(self):
        for folder in ("log", "tls", "mail", "postfix/etc", "postfix/queue", "postfix/data", "dovecot/keys/default/RS256"):
            self.path(folder).mkdir(parents=True)
        self.path("log").chmod(0o777)
        shutil.chown(self.path("mail"), NOBODY, NOBODY)
        shutil.chown(self.path("postfix/data"), "postfix")
        self.certificates()
        self.start_entra()
        self.configure_postfix()
        self.start_dovecot()
        self.start_postfix()
        self.start_squid()
        self.configure_mailwicket()
        self.start_mailwicket()
        self.start_direct()

    def certificates(self):
        tls = self.path("tls")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Interop CA",
            "-keyout", tls / "ca.key", "-out", tls / "ca.pem")
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=corp.test",
            "-keyout", tls / "leaf.key", "-out", tls / "leaf.csr")
        (tls / "leaf.ext").write_text("subjectAltName=DNS:login.corp.test,DNS:smtp.corp.test,DNS:outlook.corp.test,DNS:localhost")
        run("openssl", "x509", "-req", "-in", tls / "leaf.csr", "-CA", tls / "ca.pem", "-CAkey", tls / "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", tls / "leaf.ext", "-out", tls / "leaf.pem")
        run("openssl", "genrsa", "-out", tls / "signing.key", "2048")
        run("openssl", "rsa", "-in", tls / "signing.key", "-pubout",
            "-out", self.path("dovecot/keys/default/RS256/default"))
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=app",
            "-keyout", tls / "app.key", "-out", tls / "app.pem")

    def spawn(self, name, *command, **options):
        log = open(self.path("log", f"{name}.out"), "ab")
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        self.running[name] = process
        return process

    def stop(self, name):
        process = self.running.pop(name, None)
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def start_entra(self):
        tls = self.path("tls")
        self.spawn("entra", "/usr/bin/python3", HERE / "servers/entra.py", self.ports["entra"], tls / "leaf.pem",
                   tls / "leaf.key", tls / "signing.key", self.path("log", "entra.log"))
        wait_for("the token endpoint", lambda: listens(self.ports["entra"]))

    def start_dovecot(self):
        self.write("dovecot/dovecot.conf", "dovecot.conf")
        self.write("dovecot/oauth2.conf", "oauth2.conf")
        self.spawn("dovecot", "dovecot", "-F", "-c", self.path("dovecot/dovecot.conf"))
        ready = self.path("postfix/queue/private/auth").exists
        wait_for("Dovecot", lambda: ready() and listens(self.ports["imaps"]) and listens(self.ports["pop3s"]))

    def configure_postfix(self):
        """Makes the queue, in which Dovecot then puts its socket."""
        self.write("postfix/etc/main.cf", "main.cf")
        self.write("postfix/etc/master.cf", "master.cf")
        run("postfix", "-c", self.path("postfix/etc"), "check")

    def start_postfix(self):
        run("postfix", "-c", self.path("postfix/etc"), "start")
        wait_for("Postfix", lambda: listens(self.ports["submission"]))

    def stop_postfix(self):
        subprocess.run(["postfix", "-c", str(self.path("postfix/etc")), "stop"], capture_output=True)

    def start_squid(self, name="squid", address="127.0.0.1"):
        """The company's proxy; by another name with the same rules at another address."""
        if not self.path("squid.passwd").exists():
            self.path("hosts").write_text("127.0.0.1 login.corp.test smtp.corp.test outlook.corp.test\n")
            hashed = run("openssl", "passwd", "-apr1", PROXY_PASSWORD, text=True).stdout.strip()
            self.path("squid.passwd").write_text(f"svc-mail:{hashed}\n")
        if not self.path(f"{name}.conf").exists():
            within_tls = "" if name != "squid" else (
                f"https_port {address}:{self.ports['squid_tls']} tls-cert={self.path('tls/leaf.pem')} tls-key={self.path('tls/leaf.key')}")
            self.write(f"{name}.conf", "squid.conf", address=address, port=self.ports[name], within_tls=within_tls)
        self.spawn(name, "squid", "-N", "-f", self.path(f"{name}.conf"))

        def ready():
            with socket.socket() as probe:
                return probe.connect_ex((address, self.ports[name])) == 0
        wait_for(name, ready)

    def configure_mailwicket(self):
        hashes = [run(MAILWICKET, "hash-password", input=f"{password}\n", text=True).stdout.strip()
                  for password in (PASSWORD, ODD_PASSWORD)]
        self.hash = hashes[0]
        self.path("client_secret").write_text("entra-canary-secret~value\n")
        self.path("client_secret").chmod(0o600)
        shutil.copy(self.path("tls/leaf.key"), self.path("tls/local.key"))
        self.path("tls/local.key").chmod(0o600)
        for name in ("proxy.toml", "direct.toml"):
            self.write(name, name, mode=0o600, hash=hashes[0], odd_hash=hashes[1])

    def environment(self):
        return {"PATH": os.environ["PATH"], "PROXY_PASSWORD": PROXY_PASSWORD}

    def start_mailwicket(self):
        self.spawn("mailwicket", MAILWICKET, "--config", self.path("proxy.toml"), env=self.environment())
        wait_for("mailwicket", lambda: all(listens(self.ports[name]) for name in ("smtp", "imap", "pop3", "smtp_tls", "smtps", "imap_tls", "pop3_tls")))

    def start_direct(self):
        """A second mailwicket, which knows no proxy."""
        self.spawn("direct", MAILWICKET, "--config", self.path("direct.toml"), env=self.environment())
        wait_for("mailwicket", lambda: all(listens(self.ports[name]) for name in ("imap_direct", "pop3_direct")))

    def tear_down(self):
        self.stop_postfix()
        for name in list(self.running):
            self.stop(name)

    def remove(self):
        shutil.rmtree(self.work, ignore_errors=True)

    # What happened ------------------------------------------------------------------------------

    def token_requests(self):
        return len(self.log("entra.log").splitlines())

    def squid_lines(self):
        return self.log("squid.log").splitlines()

    def resident(self, name):
        pages = Path(f"/proc/{self.running[name].pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    # Mailboxes ----------------------------------------------------------------------------------

    def mailbox(self, name, messages=()):
        """Makes a mailbox that holds these messages; gives its user."""
        user = f"{name}@contoso.test"
        folder = self.path("mail", user)
        for part in ("cur", "new", "tmp"):
            folder.joinpath(part).mkdir(parents=True)
        for number, message in enumerate(messages):
            folder.joinpath("new", f"{1_700_000_000 + number}.{number}.interop").write_bytes(message.replace(b"\r\n", b"\n"))
        run("chown", "-R", f"{NOBODY}:{NOBODY}", folder)
        return user

    def delivered(self):
        """Every message in the mailbox that the sending clients write to, taken out. Dovecot moves what is
        new where somebody looks at the mailbox meanwhile."""
        messages = []
        for file in sorted(self.path("mail", USER).glob("new/*")) + sorted(self.path("mail", USER).glob("cur/*")):
            messages.append(file.read_bytes())
            file.unlink()
        return messages

    def arrives(self, message, count=1):
        """Waits for the message; what Postfix puts in front is left aside, and it keeps lines by LF."""
        messages = []

        def there():
            messages.extend(self.delivered())
            return len(messages) >= count
        wait_for("the message", there, 60)
        wanted = message.replace(b"\r\n", b"\n")
        for got in messages:
            if not got.endswith(wanted):
                at = len(got) - len(wanted)
                raise AssertionError(f"the message was changed: {got[max(0, at - 50):at + 300]!r}")
