"""Sending."""

import concurrent.futures
import smtplib
import subprocess
import tempfile

from cases import case
from dialogue import Smtp, b64
from messages import ODD, large
from runtimes import java, node
from world import HERE, PASSWORD, USER, wait_for


def client(world, *command, octets=ODD, arrives=None):
    """Runs a client that sends a file, and waits for the message."""
    with tempfile.NamedTemporaryFile(suffix=".eml") as file:
        file.write(octets)
        file.flush()
        command = [str(word).replace("FILE", file.name) for word in command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"{command[0]} failed: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    world.arrives(arrives or octets)


# Clients ------------------------------------------------------------------------------------------

@case
def the_first_login_outlives_a_server_that_cuts_long_lines(world):
    session = Smtp(world.ports["smtp"])
    assert session.log_in(USER, PASSWORD).startswith("235 "), "login"
    session.close()
    cut = "Invalid base64 data in initial response"
    wait_for("Postfix's complaint", lambda: cut in world.log("postfix.log"))
    before = world.log("postfix.log").count(cut)
    session = Smtp(world.ports["smtp"])
    assert session.log_in(USER, PASSWORD).startswith("235 "), "second login"
    session.close()
    assert world.log("postfix.log").count(cut) == before, "the long form was tried again"


@case
def swaks_login_and_plain(world):
    for mechanism in ("LOGIN", "PLAIN"):
        client(world, "swaks", "--server", "127.0.0.1", "--port", world.ports["smtp"], "--auth", mechanism,
               "--auth-user", USER, "--auth-password", PASSWORD, "--from", USER, "--to", USER, "--data", "@FILE", "--helo", "client.test",
               octets=ODD.removesuffix(b"\r\n"), arrives=ODD)


@case
def user_name_as_initial_response(world):
    session = Smtp(world.ports["smtp"])
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
            subprocess.run(["msmtp", "--host=127.0.0.1", f"--port={world.ports['smtp']}", f"--auth={mechanism}",
                            "--tls=off", f"--user={USER}", f"--passwordeval=echo {PASSWORD}", f"--from={USER}", USER],
                           stdin=file, check=True, capture_output=True, timeout=60)
        world.arrives(ODD)


@case
def curl_with_and_without_initial_response(world):
    for more in ([], ["--sasl-ir"]):
        client(world, "curl", "-sS", f"smtp://127.0.0.1:{world.ports['smtp']}/client.test", "--user", f"{USER}:{PASSWORD}",
               "--mail-from", USER, "--mail-rcpt", USER, "-T", "FILE", *more)


@case
def python_smtplib(world):
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"], timeout=60) as session:
        session.login(USER, PASSWORD)
        session.sendmail(USER, [USER], ODD)
    world.arrives(ODD)


@case
def nodemailer(world):
    client(world, *node(world, "send.js", world.ports["smtp"], USER, PASSWORD, "FILE"))


@case
def javamail(world):
    for mechanism in ("", "PLAIN"):
        client(world, *java(world, "Send", world.ports["smtp"], USER, PASSWORD, "FILE", mechanism))


@case
def perl_net_smtp(world):
    client(world, "perl", HERE / "clients/send.pl", world.ports["smtp"], USER, PASSWORD, "FILE")


# Messages -----------------------------------------------------------------------------------------

@case
def twenty_five_megabytes(world):
    octets = large()
    client(world, "curl", "-sS", f"smtp://127.0.0.1:{world.ports['smtp']}/client.test", "--user", f"{USER}:{PASSWORD}",
           "--mail-from", USER, "--mail-rcpt", USER, "-T", "FILE", octets=octets)


@case
def chunking_and_pipelining_behind_the_login(world):
    session = Smtp(world.ports["smtp"])
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
        with smtplib.SMTP("127.0.0.1", world.ports["smtp"], timeout=60) as session:
            session.login(USER, PASSWORD)
            session.sendmail(USER, [USER], ODD)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(send, range(50)))
    world.arrives(ODD, 50)
    assert world.token_requests() == before, "tokens were asked for again"


@case
def a_hundred_megabytes_with_flat_memory(world):
    """Postfix refuses it at the end; what counts is that mailwicket holds none of it."""
    session = Smtp(world.ports["smtp"])
    session.log_in(USER, PASSWORD)
    for line in (f"MAIL FROM:<{USER}>", f"RCPT TO:<{USER}>", "DATA"):
        session.say(line)
    before, most, line = world.resident("mailwicket"), 0, (b"x" * 998 + b"\r\n") * 1000
    for _ in range(100):
        session.write(line)
        most = max(most, world.resident("mailwicket"))
    reply = session.say(".")
    assert reply.startswith("552 "), reply
    session.close()
    assert most - before < 4_000_000, f"grew by {most - before} octets"
