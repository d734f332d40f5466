"""Refusals, outages, and mailwicket as a process."""

import itertools
import re
import signal
import subprocess
from pathlib import Path

from canaries import clear_of
from cases import case
from dialogue import Imap, Pop3, Smtp
from messages import ODD
from world import ENTRA_PASSWORD, MAILWICKET, PASSWORD, USER, free_port, listens, wait_for


# Refusals and outages -----------------------------------------------------------------------------

# Of each protocol: the dialogue, its port, and how a login is taken, is refused, and fails for now.
PROTOCOLS = ((Smtp, "smtp", "235 ", "535 5.7.8 ", "454 4.7.0 "),
             (Imap, "imap", "A1 OK ", "A1 NO [AUTHENTICATIONFAILED] ", "A1 NO [UNAVAILABLE] "),
             (Pop3, "pop3", "+OK", "-ERR [AUTH] ", "-ERR [SYS/TEMP] Service unavailable: "))
# All of loopback but its first address, which the clients come from.
ADDRESSES = (f"127.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())


def tells(world, kind, port, user, password):
    """From an address that has not failed before: others are made to wait."""
    with kind(world.ports[port], next(ADDRESSES)) as session:
        return session.log_in(user, password)


@case
def a_wrong_password_opens_nothing(world):
    """Right logins follow the wrong ones: when the logs show theirs, they would show the others' too."""
    def opened():
        tunnels = [line for line in world.squid_lines() if "CONNECT " in line and "CONNECT login." not in line]
        dovecot = re.findall("(?:imap|pop3)-login: ", world.log("dovecot.log"))
        return len(tunnels), world.log("postfix.log").count(": connect from ") + len(dovecot)
    world.stop("squid")  # what still ran is in its log now
    world.start_squid()
    tunnels, connections = opened()
    for user, password in ((USER, "wrong"), ("nobody@fabrikam.test", PASSWORD)):
        for kind, port, _, refused, _ in PROTOCOLS:
            told = tells(world, kind, port, user, password)
            assert told.startswith(refused), told
    for kind, port, taken, *_ in PROTOCOLS:
        told = tells(world, kind, port, USER, PASSWORD)
        assert told.startswith(taken), told
    wait_for("squid's log", lambda: opened()[0] >= tunnels + 3)
    assert opened() == (tunnels + 3, connections + 3), (tunnels, connections, opened())


@case
def entra_judges_a_users_password(world):
    for kind, port, taken, refused, _ in PROTOCOLS:
        user = world.mailbox(f"erp-{port}")
        told = tells(world, kind, port, user, ENTRA_PASSWORD)
        assert told.startswith(taken), told
        told = tells(world, kind, port, user, "entra-canary-typo")
        assert told.startswith(refused) and "AADSTS50126" in told, told


@case
def a_port_that_the_proxy_forbids(world):
    told = tells(world, Smtp, "forbidden", USER, PASSWORD)
    assert told.startswith("454 4.7.0 The proxy answered 403"), told
    words = f"proxy 127.0.0.1:{world.ports['squid']} answered 403 to CONNECT smtp.corp.test:2"
    assert words in world.log("mailwicket.out"), "the log does not name it"


def fetchmail_ends_with(world):
    config = world.path("outage.fetchmailrc")
    config.write_text(f"poll 127.0.0.1 service {world.ports['pop3']} protocol pop3 auth password\n"
                      f"  user '{USER}' password '{PASSWORD}' sslproto \"\" mda cat\n")
    config.chmod(0o600)
    command = ["fetchmail", "--fetchmailrc", config, "--pidfile", world.path("outage.pid"), "--nosyslog"]
    return subprocess.run(command, capture_output=True, timeout=60).returncode


@case
def outages_are_passing(world):
    def fails(words, protocols=PROTOCOLS):
        for kind, port, *_, unavailable in protocols:
            told = tells(world, kind, port, USER, PASSWORD)
            assert told.startswith(unavailable + words), told

    def works(protocols=PROTOCOLS):
        return all(tells(world, kind, port, USER, PASSWORD).startswith(taken) for kind, port, taken, *_ in protocols)
    smtp, reading = PROTOCOLS[:1], PROTOCOLS[1:]
    direct = [(kind, f"{port}_direct", *rest) for kind, port, *rest in reading]
    world.stop_postfix()
    wait_for("Postfix's end", lambda: not listens(world.ports["submission"]))
    fails("The proxy answered 503", smtp)
    world.start_postfix()
    world.stop("dovecot")
    wait_for("Dovecot's end", lambda: not listens(world.ports["imaps"]) and not listens(world.ports["pop3s"]))
    fails("The proxy answered 503", reading)
    fails("Cannot connect to ", direct)
    assert (code := fetchmail_ends_with(world)) == 14, f"fetchmail ends with {code}; 14 is busy, 3 a refused login"
    world.start_dovecot()
    assert works() and works(direct)
    world.stop("squid")
    fails("Cannot connect to the proxy")
    world.start_squid()
    assert works()
    world.stop("mailwicket")
    world.stop("entra")
    world.start_mailwicket()
    fails("No token now")
    world.start_entra()
    wait_for("the token endpoint to be asked again", works)


# The process --------------------------------------------------------------------------------------

@case
def check_and_its_exit_codes(world):
    def check(*more):
        return subprocess.run([MAILWICKET, "check", *more], env=world.environment(), capture_output=True, text=True, timeout=120)
    good = check("--offline", "--config", world.path("proxy.toml"))
    assert good.returncode == 0, good
    whole = check("--config", world.path("proxy.toml"), "--account", USER)
    assert whole.returncode == 69 and "403" in whole.stdout, whole
    for hop in ("smtp at smtp.corp.test", "imap at outlook.corp.test", "pop3 at outlook.corp.test"):
        assert f"logged in over {hop}" in whole.stdout, whole
    direct = check("--config", world.path("direct.toml"), "--account", USER)
    assert direct.returncode == 0, direct
    text = world.path("proxy.toml").read_text()
    world.path("broken.toml").write_text(text.replace('grant = "password"', 'grant = "magic"'))
    bad = check("--offline", "--config", world.path("broken.toml"))
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line == 'grant = "password"')
    assert bad.returncode == 78 and f"broken.toml:{line}: entra.users.grant" in bad.stderr, bad


@case
def sighup_reloads_whole_or_not_at_all(world):
    file, extra = world.path("proxy.toml"), free_port()
    before = file.read_text()
    more = f'\n[[listener]]\nprotocol = "imap"\nbind = "127.0.0.1:{extra}"\n' \
           f'upstream = {{ host = "outlook.corp.test", port = {world.ports["imaps"]} }}\n'

    def reload(text, event):
        count = world.log("mailwicket.out").count(f'event="{event}"')
        file.write_text(text)
        world.running["mailwicket"].send_signal(signal.SIGHUP)
        wait_for(event, lambda: world.log("mailwicket.out").count(f'event="{event}"') > count)
    requests = world.token_requests()
    with Imap(world.ports["imap"]) as running:
        assert running.log_in(USER, PASSWORD).startswith("A1 OK ")
        reload(before.replace('grant = "password"', 'grant = "magic"') + more, "reload_refused")
        assert not listens(extra) and running.say("A2 NOOP").startswith("A2 OK ")
        reload(before + more, "reloaded")
        assert running.say("A3 SELECT INBOX").startswith("A3 OK "), "the running session goes on"
        with Imap(extra) as session:
            assert session.log_in(USER, PASSWORD).startswith("A1 OK ")
        reload(before, "reloaded")
        wait_for("the port to close", lambda: not listens(extra))
        assert running.say("A4 LOGOUT").startswith("A4 OK ")
    assert world.token_requests() == requests, "tokens were asked for again"


@case
def sigterm_lets_a_running_session_finish(world):
    def port(name):
        return world.ports[name]
    with Smtp(port("smtp")) as session, Imap(port("imap")) as reader, \
            Smtp(port("smtp")) as smtp, Imap(port("imap")) as imap, Pop3(port("pop3")) as pop3:
        session.log_in(USER, PASSWORD)
        reader.log_in(USER, PASSWORD)
        world.running["mailwicket"].send_signal(signal.SIGTERM)
        for waiting, farewell in ((smtp, "421 4.3.2 "), (imap, "* BYE [UNAVAILABLE] "), (pop3, "-ERR [SYS/TEMP] ")):
            told = waiting.line()
            assert told.startswith(farewell), told
        wait_for("the ports to close", lambda: not any(listens(port(name)) for name in ("smtp", "imap", "pop3")))
        for line in (f"MAIL FROM:<{USER}>", f"RCPT TO:<{USER}>", "DATA"):
            session.say(line)
        session.write(ODD.replace(b"\r\n.", b"\r\n.."))
        assert session.say(".").startswith("250 ")
        session.say("QUIT")
        assert reader.say("A2 SELECT INBOX").startswith("A2 OK ")
        assert reader.say("A3 LOGOUT").startswith("A3 OK ")
    assert world.stop("mailwicket") == 0
    world.arrives(ODD)
    world.start_mailwicket()


@case
def nothing_went_direct_and_all_by_name(world):
    """Of the mailwicket that has the proxy; the other's connections are in no squid log."""
    lines = world.squid_lines()
    targets = {line.split()[6] for line in lines if "CONNECT" in line}
    ports = world.ports
    servers = [f"smtp.corp.test:{ports['submission']}", f"outlook.corp.test:{ports['imaps']}", f"outlook.corp.test:{ports['pop3s']}"]
    assert targets == {f"login.corp.test:{ports['entra']}", *servers, "smtp.corp.test:2"}, targets

    def tunnels(server):
        return sum(f"CONNECT {server}" in line and "/200" in line for line in lines)
    connected = [world.log("postfix.log").count(": connect from "),
                 world.log("dovecot.log").count("imap-login: "), world.log("dovecot.log").count("pop3-login: ")]
    # Other connections are this suite's own looks at the port, and the other mailwicket's.
    assert all(0 < tunnels(server) <= count for server, count in zip(servers, connected)), (list(map(tunnels, servers)), connected)


@case
def no_secret_anywhere(world):
    """Every password, secret and token here is known by a word: as it is, and in base64 at any offset."""
    for name in ("mailwicket", "direct"):
        log = world.log(f"{name}.out")
        assert "session_end" in log and "DEBUG" in log, "the log was kept"
        text = log + Path(f"/proc/{world.running[name].pid}/cmdline").read_text()
        clear_of(text, ("canary", "eyJ"), encoded=("canary",))
