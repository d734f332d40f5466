"""The cases. Each is a function that raises where something does not hold; `run` starts this."""

import base64
import concurrent.futures
import os
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dialogue import Dialogue, b64
from world import HERE, MAILWICKET, PASSWORD, PROXY_PASSWORD, USER, World, listens, wait_for

CASES = []


def case(function):
    CASES.append(function)
    return function


def message(body, subject="interop"):
    head = f"From: {USER}\r\nTo: {USER}\r\nSubject: {subject}\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n" \
           f"Message-ID: <{subject}@contoso.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" \
           "Content-Transfer-Encoding: 8bit\r\n\r\n"
    return head.encode() + body


ODD = message("Gr\u00fc\u00dfe\r\n.\r\n..\r\n.dot\r\n\r\n".encode() + b"x" * 990 + b"\r\nThe end.\r\n", "odd")


def large():
    """25 MB of lines of random base64."""
    lines = base64.b64encode(os.urandom(25_000_000 * 3 // 4))
    return message(b"".join(lines[at:at + 76] + b"\r\n" for at in range(0, len(lines), 76)), "large")


def client(world, *command, octets=ODD, arrives=None, **options):
    """Runs a client that sends a file, and waits for the message."""
    with tempfile.NamedTemporaryFile(suffix=".eml") as file:
        file.write(octets)
        file.flush()
        command = [str(word).replace("FILE", file.name) for word in command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
        if done.returncode != 0:
            raise AssertionError(f"{command[0]} failed: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    world.arrives(arrives or octets)


# Clients ------------------------------------------------------------------------------------------

@case
def the_first_login_outlives_a_server_that_cuts_long_lines(world):
    session = Dialogue(world.ports["listener"])
    assert session.log_in(USER, PASSWORD).startswith("235 "), "login"
    session.close()
    cut = "Invalid base64 data in initial response"
    wait_for("Postfix's complaint", lambda: cut in world.log("postfix.log"))
    before = world.log("postfix.log").count(cut)
    session = Dialogue(world.ports["listener"])
    assert session.log_in(USER, PASSWORD).startswith("235 "), "second login"
    session.close()
    assert world.log("postfix.log").count(cut) == before, "the long form was tried again"


@case
def swaks_login_and_plain(world):
    for mechanism in ("LOGIN", "PLAIN"):
        client(world, "swaks", "--server", "127.0.0.1", "--port", world.ports["listener"], "--auth", mechanism,
               "--auth-user", USER, "--auth-password", PASSWORD, "--from", USER, "--to", USER, "--data", "@FILE", "--helo", "client.test",
               octets=ODD.removesuffix(b"\r\n"), arrives=ODD)


@case
def user_name_as_initial_response(world):
    session = Dialogue(world.ports["listener"])
    session.say("HELO scanner")
    assert session.say("AUTH login " + b64(USER)) == "334 UGFzc3dvcmQ6"
    assert session.say(b64(PASSWORD)).startswith("235 ")
    for line in (f"MAIL FROM:<{USER}>", f"RCPT TO:<{USER}>", "DATA"):
        session.say(line)
    session.write(ODD.replace(b"\r\n.", b"\r\n.."))
    assert session.say(".").startswith("250 ")
    session.close()
    world.arrives(ODD)


@case
def msmtp(world):
    for mechanism in ("login", "plain"):
        with open(world.path("in.eml"), "wb") as file:
            file.write(ODD.replace(b"\r\n", b"\n"))
        with open(world.path("in.eml"), "rb") as file:
            subprocess.run(["msmtp", "--host=127.0.0.1", f"--port={world.ports['listener']}", f"--auth={mechanism}",
                            "--tls=off", f"--user={USER}", f"--passwordeval=echo {PASSWORD}", f"--from={USER}", USER],
                           stdin=file, check=True, capture_output=True, timeout=60)
        world.arrives(ODD)


@case
def curl_with_and_without_initial_response(world):
    for more in ([], ["--sasl-ir"]):
        client(world, "curl", "-sS", f"smtp://127.0.0.1:{world.ports['listener']}/client.test", "--user", f"{USER}:{PASSWORD}",
               "--mail-from", USER, "--mail-rcpt", USER, "-T", "FILE", *more)


@case
def python_smtplib(world):
    with smtplib.SMTP("127.0.0.1", world.ports["listener"], timeout=60) as session:
        session.login(USER, PASSWORD)
        session.sendmail(USER, [USER], ODD)
    world.arrives(ODD)


@case
def nodemailer(world):
    modules = world.path("node")
    modules.mkdir()
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(modules), "nodemailer@7"],
                   check=True, capture_output=True, timeout=120)
    client(world, "node", HERE / "clients/send.js", world.ports["listener"], USER, PASSWORD, "FILE",
           env={**os.environ, "NODE_PATH": str(modules / "node_modules")})


@case
def javamail(world):
    path = "/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar"
    subprocess.run(["javac", "-cp", path, "-d", str(world.path("java")), str(HERE / "clients/Send.java")],
                   check=True, capture_output=True, timeout=120)
    for mechanism in ("", "PLAIN"):
        client(world, "java", "-cp", f"{path}:{world.path('java')}", "Send", world.ports["listener"], USER, PASSWORD, "FILE", mechanism)


@case
def perl_net_smtp(world):
    client(world, "perl", HERE / "clients/send.pl", world.ports["listener"], USER, PASSWORD, "FILE")


# Messages -----------------------------------------------------------------------------------------

@case
def twenty_five_megabytes(world):
    octets = large()
    client(world, "curl", "-sS", f"smtp://127.0.0.1:{world.ports['listener']}/client.test", "--user", f"{USER}:{PASSWORD}",
           "--mail-from", USER, "--mail-rcpt", USER, "-T", "FILE", octets=octets)


@case
def chunking_and_pipelining_behind_the_login(world):
    session = Dialogue(world.ports["listener"])
    assert "CHUNKING" in session.say("EHLO client.test")
    half = len(ODD) // 2
    session.write("\r\n".join(["AUTH PLAIN " + b64(f"\0{USER}\0{PASSWORD}"), f"MAIL FROM:<{USER}> BODY=8BITMIME",
                               f"RCPT TO:<{USER}>", f"BDAT {half}", ""]).encode() + ODD[:half]
                  + f"BDAT {len(ODD) - half} LAST\r\n".encode() + ODD[half:])
    for code in ("235", "250", "250", "250", "250"):
        reply = session.reply()
        assert reply.startswith(code), reply
    session.close()
    world.arrives(ODD)


@case
def ten_clients_at_a_time(world):
    before = world.token_requests()

    def send(number):
        with smtplib.SMTP("127.0.0.1", world.ports["listener"], timeout=60) as session:
            session.login(USER, PASSWORD)
            session.sendmail(USER, [USER], ODD)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(send, range(50)))
    world.arrives(ODD, 50)
    assert world.token_requests() == before, "tokens were asked for again"


@case
def a_hundred_megabytes_with_flat_memory(world):
    """Postfix refuses it at the end; what counts is that mailwicket holds none of it."""
    process = world.running["mailwicket"].pid

    def resident():
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    session = Dialogue(world.ports["listener"])
    session.log_in(USER, PASSWORD)
    for line in (f"MAIL FROM:<{USER}>", f"RCPT TO:<{USER}>", "DATA"):
        session.say(line)
    before, most, line = resident(), 0, (b"x" * 998 + b"\r\n") * 1000
    for _ in range(100):
        session.write(line)
        most = max(most, resident())
    reply = session.say(".")
    assert reply.startswith("552 "), reply
    session.close()
    assert most - before < 4_000_000, f"grew by {most - before} octets"


# Refusals and outages -----------------------------------------------------------------------------

@case
def a_wrong_password_opens_nothing(world):
    def quiet():
        log = world.log("postfix.log")
        return log.count(": connect from ") == log.count(": disconnect from ")
    wait_for("earlier sessions' end", quiet)
    squid, postfix = world.squid_lines(), world.log("postfix.log")
    for user, password in ((USER, "wrong"), ("nobody@fabrikam.test", PASSWORD)):
        session = Dialogue(world.ports["listener"])
        assert session.log_in(user, password).startswith("535 5.7.8 ")
        session.close()
    assert (world.squid_lines(), world.log("postfix.log")) == (squid, postfix)


@case
def entra_judges_a_users_password(world):
    session = Dialogue(world.ports["listener"])
    assert session.log_in("erp@contoso.test", "entra-canary-password").startswith("235 ")
    session.close()
    session = Dialogue(world.ports["listener"])
    reply = session.log_in("erp@contoso.test", "entra-canary-typo")
    assert reply.startswith("535 5.7.8 ") and "AADSTS50126" in reply, reply
    session.close()


@case
def a_port_that_the_proxy_forbids(world):
    session = Dialogue(world.ports["forbidden"])
    reply = session.log_in(USER, PASSWORD)
    assert reply.startswith("454 4.7.0 The proxy answered 403"), reply
    session.close()
    words = f"proxy 127.0.0.1:{world.ports['squid']} answered 403 to CONNECT smtp.corp.test:2"
    assert words in world.log("mailwicket.out"), "the log does not name it"


@case
def outages_are_passing(world):
    def reply():
        session = Dialogue(world.ports["listener"])
        told = session.log_in(USER, PASSWORD)
        session.close()
        return told
    world.stop_postfix()
    wait_for("Postfix's end", lambda: not listens(world.ports["submission"]))
    told = reply()
    assert told.startswith("454 4.7.0 The proxy answered 503"), told
    world.start_postfix()
    world.stop("squid")
    told = reply()
    assert told.startswith("454 4.7.0 Cannot connect to the proxy"), told
    world.start_squid()
    assert reply().startswith("235 ")
    world.stop("mailwicket")
    world.stop("entra")
    world.start_mailwicket()
    told = reply()
    assert told.startswith("454 4.7.0 No token now"), told
    world.start_entra()
    wait_for("the token endpoint to be asked again", lambda: reply().startswith("235 "))


# The process --------------------------------------------------------------------------------------

@case
def check_and_its_exit_codes(world):
    def check(*more):
        return subprocess.run([MAILWICKET, "check", *more], env=world.environment(), capture_output=True, text=True, timeout=120)
    good = check("--offline", "--config", world.path("proxy.toml"))
    assert good.returncode == 0, good
    whole = check("--config", world.path("proxy.toml"), "--account", USER)
    assert whole.returncode == 69 and "logged in over smtp at smtp.corp.test" in whole.stdout and "403" in whole.stdout, whole
    text = world.path("proxy.toml").read_text()
    world.path("broken.toml").write_text(text.replace('grant = "password"', 'grant = "magic"'))
    bad = check("--offline", "--config", world.path("broken.toml"))
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line == 'grant = "password"')
    assert bad.returncode == 78 and f"broken.toml:{line}: entra.users.grant" in bad.stderr, bad


@case
def sigterm_lets_a_running_session_finish(world):
    session, waiting = Dialogue(world.ports["listener"]), Dialogue(world.ports["listener"])
    session.log_in(USER, PASSWORD)
    process = world.running["mailwicket"]
    process.send_signal(signal.SIGTERM)
    assert waiting.reply().startswith("421 4.3.2 ")
    wait_for("the port to close", lambda: not listens(world.ports["listener"]))
    for line in (f"MAIL FROM:<{USER}>", f"RCPT TO:<{USER}>", "DATA"):
        session.say(line)
    session.write(ODD.replace(b"\r\n.", b"\r\n.."))
    assert session.say(".").startswith("250 ")
    session.say("QUIT")
    session.close()
    waiting.close()
    assert world.stop("mailwicket") == 0
    world.arrives(ODD)
    world.start_mailwicket()


@case
def nothing_went_direct_and_all_by_name(world):
    lines = world.squid_lines()
    targets = {line.split()[6] for line in lines if "CONNECT" in line}
    ports = world.ports
    wanted = {f"login.corp.test:{ports['entra']}", f"smtp.corp.test:{ports['submission']}", "smtp.corp.test:2"}
    assert targets == wanted, targets
    tunnels = sum(f"CONNECT smtp.corp.test:{ports['submission']}" in line and "/200" in line for line in lines)
    connected = world.log("postfix.log").count(": connect from ")
    # Other connections to Postfix are this suite's own looks at the port.
    assert 0 < tunnels <= connected, (tunnels, connected)


@case
def no_secret_anywhere(world):
    log = world.log("mailwicket.out")
    assert "session_end" in log and "DEBUG" in log, "the log was kept"
    canaries = [PASSWORD, PROXY_PASSWORD, "entra-canary-secret~value", "entra-canary-password", "entra-canary-typo", "eyJ"]
    forms = [*canaries, b64(f"svc-mail:{PROXY_PASSWORD}"), b64(PASSWORD), b64(f"\0{USER}\0{PASSWORD}")]
    arguments = Path(f"/proc/{world.running['mailwicket'].pid}/cmdline").read_text()
    for form in forms:
        assert form not in log and form not in arguments, f"{form[:20]} shows"


def main():
    world = World()
    passed, failed = 0, []
    try:
        started = time.monotonic()
        world.set_up()
        print(f"servers up in {time.monotonic() - started:.1f} s", flush=True)
        for test in CASES:
            if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
                continue
            started = time.monotonic()
            try:
                test(world)
                passed += 1
                print(f"ok    {test.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception as error:  # whatever it is, the other cases still run
                failed.append(test.__name__)
                print(f"FAIL  {test.__name__}: {type(error).__name__}: {error}", flush=True)
                world.delivered()
    finally:
        world.tear_down()
        if failed or not passed:
            for log in sorted(world.path("log").iterdir()):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
    if not failed and passed:
        world.remove()
    else:
        print(f"kept: {world.work}")
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed or not passed else 0)


main()
