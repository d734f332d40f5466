"""Reading by IMAP."""

import concurrent.futures
import hashlib
import imaplib
import smtplib
import subprocess
import threading
import time

import readers
from cases import case
from cases.reading import inbox, reads, same
from dialogue import Imap, b64
from messages import MIXED, ODD, large, message
from runtimes import java
from world import ENTRA_PASSWORD, ODD_PASSWORD, ODD_USER, PASSWORD, USER



def iter_until(lines, last):
    """Lines up to the one that is waited for."""
    for line in lines:
        yield line
        if last(line):
            return


# Clients ------------------------------------------------------------------------------------------

for reader in (readers.curl, readers.python_imaplib, readers.mbsync, readers.fetchmail,
               readers.offlineimap, readers.mutt, readers.imapflow, readers.javamail):
    reads("imap", reader)
reads("imap", readers.getmail, odd=ENTRA_PASSWORD)  # its LOGIN is ASCII only


@case
def imap_logins_in_every_form(world):
    """An odd password as it is quoted, counted and encoded; the mailbox is not named as the user is."""
    user, password = map(readers.quoted, (ODD_USER, ODD_PASSWORD))
    octets = ODD_PASSWORD.encode()
    for port in (world.ports["imap"], world.ports["imap_direct"]):
        with Imap(port) as session:
            assert session.say(f"a LOGIN {user} {password}").startswith("a OK "), "quoted"
        with Imap(port) as session:
            assert session.say(f"b login {{{len(ODD_USER)}}}").startswith("+ ")
            assert session.say(f"{ODD_USER} {{{len(octets)}}}").startswith("+ ")
            assert session.say(ODD_PASSWORD).startswith("b OK "), "literals"
        with Imap(port) as session:
            session.write(f"c LOGIN {{{len(ODD_USER)}+}}\r\n{ODD_USER} {{{len(octets)}+}}\r\n{ODD_PASSWORD}\r\nd SELECT INBOX\r\n".encode())
            assert session.reply().startswith("c OK ") and session.reply().startswith("d OK "), "LITERAL+, and a command behind it"
        with Imap(port) as session:
            assert session.say("e AUTHENTICATE LOGIN").startswith("+ ")
            assert session.say(b64(ODD_USER)).startswith("+ ")
            assert session.say(b64(ODD_PASSWORD)).startswith("e OK "), "AUTHENTICATE LOGIN"
    user = world.mailbox("logins", [ODD])
    same(readers.curl(inbox(world, "imap", user, ODD_PASSWORD), "--login-options", "AUTH=LOGIN"), [ODD])
    for options in (["mail.imap.auth.mechanisms=LOGIN"], ["mail.imap.auth.plain.disable=true", "mail.imap.auth.login.disable=true"]):
        same(readers.javamail(inbox(world, "imap", user, ODD_PASSWORD), *options), [ODD])


# Messages -----------------------------------------------------------------------------------------

@case
def imap_twenty_five_megabytes(world):
    """Fetched, appended by a second client, and fetched again."""
    octets = large()
    for port in ("imap", "imap_direct"):
        user = world.mailbox(f"large-{port}", [octets])
        same(readers.curl(inbox(world, port, user)), [octets])
        with imaplib.IMAP4("127.0.0.1", world.ports[port], timeout=60) as session:
            session.login(user, ENTRA_PASSWORD)
            status, said = session.append("INBOX", r"(\Seen)", None, octets)
            assert status == "OK", said
        same(readers.python_imaplib(inbox(world, port, user)), [octets, octets])


@case
def imap_an_append_behind_the_login(world):
    """All of it in one go: what a client sends before it is let in waits where it is."""
    octets = large()
    user = world.mailbox("pipelined")
    with Imap(world.ports["imap"]) as session:
        before = world.resident("mailwicket")
        commands = f"A1 LOGIN {user} {ENTRA_PASSWORD}\r\nA2 APPEND INBOX {{{len(octets)}+}}\r\n"
        session.write(commands.encode() + octets + b"\r\nA3 LOGOUT\r\n")
        grown = world.resident("mailwicket") - before
        for wanted in ("A1 OK ", "A2 OK ", "A3 OK "):
            told = session.reply()
            assert told.startswith(wanted), told
    same(readers.python_imaplib(inbox(world, "imap", user)), [octets])
    assert grown < 4_000_000, f"grew by {grown} octets"


@case
def imap_a_hundred_megabytes_with_flat_memory(world):
    octets = large(100_000_000)
    user = world.mailbox("huge", [octets])
    with Imap(world.ports["imap"]) as session:
        session.log_in(user, ENTRA_PASSWORD)
        session.say("A2 EXAMINE INBOX")
        before, most, left, digest = world.resident("mailwicket"), 0, len(octets), hashlib.sha256()
        session.write(b"A3 FETCH 1 BODY.PEEK[]\r\n")
        assert session.line() == f"* 1 FETCH (BODY[] {{{left}}}"
        while left:
            piece = session.file.read(min(left, 1_000_000))
            assert piece, "the connection ended"
            digest.update(piece)
            left -= len(piece)
            most = max(most, world.resident("mailwicket"))
        assert session.line() == ")" and session.reply().startswith("A3 OK ")
    assert digest.digest() == hashlib.sha256(octets).digest(), "the message was changed"
    assert most - before < 4_000_000, f"grew by {most - before} octets"


@case
def imap_two_thousand_messages_in_both_directions(world):
    def text(number, where):
        return message(b"Message %d\r\n" % number * (number % 50), f"{where}-{number}")
    far = [text(number, "far") for number in range(2000)]
    user = world.mailbox("many", far)
    box = inbox(world, "imap", user)
    same(readers.mbsync(box), far)
    # What the person at the near side does then: deletes, reads, flags, answers, and writes.
    wanted, cur = [], box.folder / "near/INBOX/cur"
    for number, file in enumerate(sorted(file for part in ("new", "cur") for file in (cur.parent / part).iterdir())):
        flags = "T" if number < 10 else ("S", "F", "RS", "")[number % 4]
        if flags != "T":
            wanted.append((readers.unmarked(file.read_bytes().replace(b"\n", b"\r\n")), flags))
        file.rename(cur / f"{file.name.split(':')[0]}:2,{flags}")
    for number in range(100):
        wanted.append((text(number, "near"), "S"))
        (cur / f"1700000000.{number}.near:2,S").write_bytes(wanted[-1][0].replace(b"\r\n", b"\n"))
    readers.mbsync(box)
    words = {rb"\Answered": "R", rb"\Flagged": "F", rb"\Seen": "S"}
    with imaplib.IMAP4("127.0.0.1", world.ports["imap"], timeout=60) as session:
        session.login(user, ENTRA_PASSWORD)
        session.select("INBOX", readonly=True)
        _, parts = session.fetch("1:*", "(FLAGS BODY.PEEK[])")
    got = [(readers.unmarked(octets), "".join(letter for word, letter in words.items() if word in head))
           for head, octets in (part for part in parts if isinstance(part, tuple))]
    assert sorted(got) == sorted(wanted), (len(got), len(wanted), sorted(set(got) ^ set(wanted))[:2])


@case
def imap_fifty_clients_at_once(world):
    user = world.mailbox("crowd", MIXED)
    before, everybody = world.token_requests(), threading.Barrier(50, timeout=60)

    def read(_):
        with imaplib.IMAP4("127.0.0.1", world.ports["imap"], timeout=60) as session:
            session.login(user, ENTRA_PASSWORD)
            everybody.wait()
            session.select("INBOX", readonly=True)
            _, parts = session.fetch("1:*", "(BODY.PEEK[])")
            same([part[1] for part in parts if isinstance(part, tuple)], MIXED)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        list(pool.map(read, range(50)))
    assert world.token_requests() == before + 1, f"{world.token_requests() - before} tokens for one mailbox"


@case
def imap_idle_is_told_at_once(world):
    """From the moment that Postfix has taken the message."""
    def send():
        with smtplib.SMTP("127.0.0.1", world.ports["smtp"], timeout=60) as session:
            session.login(USER, PASSWORD)
            session.sendmail(USER, [user], ODD)
        return time.monotonic()
    user, took = world.mailbox("idle"), []
    for port in ("imap", "imap_direct"):
        with Imap(world.ports[port]) as session:
            session.log_in(user, ENTRA_PASSWORD)
            session.say("A2 SELECT INBOX")
            assert session.say("A3 IDLE").startswith("+ ")
            sent = send()
            while not session.line().endswith(" EXISTS"):
                pass
            took.append(time.monotonic() - sent)
            session.write(b"DONE\r\n")
            assert session.reply().startswith("A3 OK ")
    command = [str(word) for word in java(world, "Idle", world.ports["imap"], user, ENTRA_PASSWORD)]
    with subprocess.Popen(["timeout", "60", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        told = "".join(iter_until(client.stdout, lambda line: line.startswith("+ ")))
        sent = send()
        told += "".join(iter_until(client.stdout, lambda line: line == "arrived\n"))
        took.append(time.monotonic() - sent)
        client.stdout.read()
        assert client.wait() == 0 and told.endswith("arrived\n"), told[-2000:]
    assert max(took) < 1, took
    return ", ".join(f"{seconds * 1000:.0f} ms" for seconds in took)
