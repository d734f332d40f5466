"""Fetching by POP3."""

import smtplib

import readers
from cases import case
from cases.reading import inbox, reads, same
from dialogue import Pop3, b64
from messages import ODD, large
from world import ODD_PASSWORD, ODD_USER, PASSWORD, USER, wait_for

# Clients ------------------------------------------------------------------------------------------

for reader in (readers.curl, readers.python_poplib, readers.fetchmail, readers.getmail, readers.mutt, readers.javamail):
    reads("pop3", reader)


@case
def pop3_logins_in_every_form(world):
    """An odd password raw and encoded; the mailbox is not named as the user is."""
    for port in (world.ports["pop3"], world.ports["pop3_direct"]):
        with Pop3(port) as session:
            assert session.log_in(ODD_USER, ODD_PASSWORD).startswith("+OK"), "USER and PASS"
        with Pop3(port) as session:
            session.write(f"USER {ODD_USER}\r\nPASS {ODD_PASSWORD}\r\nSTAT\r\n".encode())
            replies = [session.reply() for _ in range(3)]
            assert all(reply.startswith("+OK") for reply in replies), replies
        with Pop3(port) as session:
            assert session.say("AUTH PLAIN " + b64(f"\0{ODD_USER}\0{ODD_PASSWORD}")).startswith("+OK"), "PLAIN at once"
        with Pop3(port) as session:
            assert session.say("AUTH LOGIN").startswith("+ ")
            assert session.say(b64(ODD_USER)).startswith("+ ")
            assert session.say(b64(ODD_PASSWORD)).startswith("+OK"), "LOGIN"
    user = world.mailbox("pop3-logins", [ODD])
    for options in (["--sasl-ir"], ["--login-options", "AUTH=LOGIN"]):
        same(readers.curl(inbox(world, "pop3", user, ODD_PASSWORD), *options), [ODD])
    for mechanism in ("PLAIN", "LOGIN"):
        same(readers.javamail(inbox(world, "pop3", user, ODD_PASSWORD), f"mail.pop3.auth.mechanisms={mechanism}"), [ODD])


# Messages -----------------------------------------------------------------------------------------

@case
def sent_and_read_back(world):
    """By SMTP into the mailbox, and out of it by IMAP and POP3; what Postfix puts in front is left aside."""
    user = world.mailbox("return")
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"], timeout=60) as session:
        session.login(USER, PASSWORD)
        session.sendmail(USER, [user], ODD)
    wait_for("the message", lambda: any(world.path("mail", user, "new").iterdir()))
    for port, reader in (("imap", readers.curl), ("imap_direct", readers.python_imaplib),
                         ("pop3", readers.curl), ("pop3_direct", readers.python_poplib)):
        same([octets[-len(ODD):] for octets in reader(inbox(world, port, user))], [ODD])


@case
def pop3_twenty_five_megabytes(world):
    octets = large()
    for port in ("pop3", "pop3_direct"):
        user = world.mailbox(f"large-{port}", [octets])
        same(readers.curl(inbox(world, port, user)), [octets])
