"""The ways out: proxies of every kind, several in order, and no other route."""

import contextlib
import socket
import subprocess

from canaries import clear_of
from cases import case
from dialogue import Imap, Smtp
from messages import ODD
from world import HERE, MAILWICKET, PASSWORD, PROXY_PASSWORD, USER, free_port, listens, run, wait_for

LOGIN = 'username = "svc-mail"\npassword = { env = "PROXY_PASSWORD" }'
CA = 'ca_file = "tls/ca.pem"'


@contextlib.contextmanager
def mailwicket(world, name, *outbound, inside=()):
    """One with ways out of its own; gives what waits for words in its log."""
    world.write("ways.toml", "ways.toml", mode=0o600, outbound="\n".join(outbound), hash=world.hash)
    name = f"way-{name}"

    def logs(words):
        wait_for(f"{words!r} in the log", lambda: words in world.log(f"{name}.out"))
    world.spawn(name, *inside, MAILWICKET, "--config", world.path("ways.toml"), env=world.environment())
    try:
        logs('event="ready"')
        yield logs
    finally:
        world.stop(name)
        clear_of(world.log(f"{name}.out"), ("canary", "eyJ"), encoded=("canary",))


@contextlib.contextmanager
def proxy(world, name, *command):
    """A proxy that asks the system for names, with a hosts file that only it sees."""
    world.path("hosts.all").write_text("127.0.0.1 localhost\n" + world.path("hosts").read_text())
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    world.spawn(name, "unshare", "-m", "sh", "-c", script, world.path("hosts.all"), *command)
    try:
        wait_for(name, lambda: listens(world.ports[name]))
        yield
    finally:
        world.stop(name)


def sends(world):
    with Smtp(world.ports["smtp_way"]) as session:
        told = session.log_in(USER, PASSWORD)
        assert told.startswith("235 "), told
        for line in (f"MAIL FROM:<{USER}>", f"RCPT TO:<{USER}>", "DATA"):
            session.say(line)
        session.write(ODD.replace(b"\r\n.", b"\r\n.."))
        assert session.say(".").startswith("250 ")
    world.arrives(ODD)


def told(world, kind=Smtp, port="smtp_way"):
    with kind(world.ports[port]) as session:
        return session.log_in(USER, PASSWORD)


def tunnels(log):
    """What this squid's log has as granted."""
    return [line.split()[6] for line in log.splitlines() if "CONNECT" in line and "/200 " in line]


@case
def a_squid_within_tls(world):
    port = world.ports["squid_tls"]
    with mailwicket(world, "https", f'proxy = "https://localhost:{port}"', LOGIN, CA):
        sends(world)
        assert told(world, Imap, "imap_way").startswith("A1 OK ")
    with mailwicket(world, "https-untrusted", f'proxy = "https://localhost:{port}"', LOGIN) as log:
        assert "454 4.7.0 No token now: No TLS with the proxy" in told(world)
        words = f'TLS with proxy localhost:{port}: the certificate is signed by an unknown authority: issued by "CN=Interop CA"'
        log(words)


@case
def tinyproxy(world):
    world.write("tinyproxy.conf", "tinyproxy.conf", password=PROXY_PASSWORD)
    with proxy(world, "tinyproxy", "tinyproxy", "-d", "-c", world.path("tinyproxy.conf")):
        way = f'proxy = "http://127.0.0.1:{world.ports["tinyproxy"]}"'
        with mailwicket(world, "tinyproxy", way, LOGIN, CA):
            sends(world)
        log = world.log("tinyproxy.log")
        for server in (f"login.corp.test:{world.ports['entra']}", f"smtp.corp.test:{world.ports['submission']}"):
            assert f"CONNECT {server} HTTP/1.1" in log, server
        with mailwicket(world, "tinyproxy-no-login", way, CA) as log:
            assert "No login at the proxy (407" in told(world)
            log("set username and password in [outbound]")


@case
def dante(world):
    """Users are those of the system, so it has a list of its own too."""
    hashed = run("openssl", "passwd", "-6", PROXY_PASSWORD, text=True).stdout.strip()
    for name, line in (("passwd", "svc-mail:x:64000:65534::/nonexistent:/usr/sbin/nologin"), ("shadow", f"svc-mail:{hashed}:19000:0:99999:7:::")):
        with open(f"/etc/{name}") as file:
            world.path(name).write_text(f"{file.read().rstrip()}\n{line}\n")
        world.path(name).chmod(0o600 if name == "shadow" else 0o644)
    world.write("danted.conf", "danted.conf")
    users = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow && exec danted -f "$0/danted.conf"'
    with proxy(world, "dante", "sh", "-c", users, world.work):
        place = f"127.0.0.1:{world.ports['dante']}"
        with mailwicket(world, "dante", f'proxy = "socks5h://{place}"', LOGIN, CA) as log:
            sends(world)
            refused = told(world, Imap, "imap_way")
            assert "The proxy answered 2 (mail server)" in refused, refused
            log("its rules do not allow this connection")
        asked = f"outlook.corp.test.{world.ports['imaps']}"
        wait_for("dante's log", lambda: asked in world.log("dante.log"))  # by name
        with mailwicket(world, "dante-wrong", f'proxy = "socks5h://svc-mail:typo@{place}"', CA) as log:
            assert "The proxy refused the login" in told(world)
            log("refused user and password")
        with mailwicket(world, "dante-no-login", f'proxy = "socks5h://{place}"', CA) as log:
            assert "The proxy refused the login" in told(world)
            log("set username and password")


@case
def a_proxy_that_inspects_tls(world):
    tls = world.path("tls")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/O=Corp/CN=Inspector",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", tls / "inspector.key", "-out", tls / "inspector.pem")
    (tls / "both.pem").write_text((tls / "ca.pem").read_text() + (tls / "inspector.pem").read_text())
    run("/usr/lib/squid/security_file_certgen", "-c", "-s", world.path("certgen"), "-M", "4MB")
    run("chown", "-R", "proxy:proxy", world.path("certgen"))
    world.write("bump.conf", "bump.conf")
    world.spawn("bump", "squid", "-N", "-f", world.path("bump.conf"))
    try:
        wait_for("the inspector", lambda: listens(world.ports["bump"]))
        way = f'proxy = "http://127.0.0.1:{world.ports["bump"]}"'
        with mailwicket(world, "inspected", way, CA) as log:
            refused = told(world)
            assert refused.startswith("454 4.7.0 No token now: No TLS with the token endpoint"), refused
            for words in ('signed by an unknown authority: issued by "O=Corp, CN=Inspector" for "CN=login.corp.test"', "set outbound.ca_file to its CA"):
                log(words)
        requests = world.token_requests()
        with mailwicket(world, "inspected-trusted", way, 'ca_file = "tls/both.pem"'):
            sends(world)
            assert told(world, Imap, "imap_way").startswith("A1 OK ")
        assert world.token_requests() == requests + 2, "one more after the long line that Postfix cut"
        wait_for("the inspector's log", lambda: "POST https://login.corp.test" in world.log("bump.log"))
    finally:
        world.stop("bump")


@case
def a_dead_and_a_silent_proxy_before_a_good_one(world):
    """The silent one takes connections and says nothing; its turn is over in time for the next."""
    good = f"http://127.0.0.1:{world.ports['squid']}"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for name, first in (("dead", f"http://127.0.0.1:{free_port()}"), ("silent", f"http://127.0.0.1:{silent.getsockname()[1]}")):
            with mailwicket(world, name, f'proxy = ["{first}", "{good}"]', LOGIN, CA):
                for _ in range(3):
                    sends(world)
            assert world.log(f"way-{name}.out").count("way_lost") == 1, "told once"


@case
def a_network_without_any_other_route(world):
    """mailwicket in a network of its own: it sees the proxy's address and nothing else, and no name server."""
    name = f"mw{world.ports['squid_alone']}"
    world.spawn("island", "unshare", "-n", "sleep", "infinity")
    pid = world.running["island"].pid
    inside = ("nsenter", "-t", pid, "-n")
    wait_for("a network of its own", lambda: run(*inside, "ip", "-o", "link").stdout.count(b"\n") == 1)
    run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", pid)
    try:
        here, there = "198.18.77.1", "198.18.77.2"
        run("ip", "addr", "add", f"{here}/30", "dev", f"{name}a")
        run("ip", "link", "set", f"{name}a", "up")
        run(*inside, "ip", "addr", "add", f"{there}/30", "dev", f"{name}b")
        run(*inside, "ip", "link", "set", f"{name}b", "up")
        run(*inside, "ip", "link", "set", "lo", "up")
        world.start_squid("squid_alone", here)
        for command in (("getent", "hosts", "smtp.corp.test"), ("curl", "-sS", "-m", "5", "http://192.0.2.1/")):
            assert subprocess.run([*map(str, inside), *command], capture_output=True).returncode != 0, command
        before = len(world.squid_lines())
        way = f'proxy = "http://{here}:{world.ports["squid_alone"]}"'
        with mailwicket(world, "island", way, LOGIN, CA, inside=inside):
            with open(world.path("island.eml"), "wb") as file:
                file.write(ODD)
            url = f"smtp://127.0.0.1:{world.ports['smtp_way']}/client.test"
            run(*inside, "curl", "-sS", url, "--user", f"{USER}:{PASSWORD}", "--mail-from", USER, "--mail-rcpt", USER,
                "-T", world.path("island.eml"), timeout=60)
        world.arrives(ODD)
        world.stop("squid_alone")
        servers = [f"login.corp.test:{world.ports['entra']}", f"smtp.corp.test:{world.ports['submission']}"]
        assert tunnels("\n".join(world.squid_lines()[before:]))[-2:] == servers
    finally:
        world.stop("squid_alone")
        subprocess.run(["ip", "link", "del", f"{name}a"], capture_output=True)
        world.stop("island")
