"""An old program: it knows a server, a user name and a password, and nothing of OAuth.

    app.py tour           send by SMTP, read back by IMAP and POP3, compare
    app.py hold           the same, but begun before mailwicket is stopped and finished after that
    app.py fence ADDRESS  that from here there is no way to ADDRESS (Microsoft 365)
    app.py reach ADDRESS  that from here there is one to ADDRESS
"""

import imaplib
import poplib
import smtplib
import socket
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

HOST, SMTP, IMAP, POP3 = "mailwicket", 1587, 1143, 1110
USER, PASSWORD = "scanner@contoso.com", "demo-password"
PORTS = 443, 587, 993, 995
PATIENCE = 30


def message(subject):
    """With what the protocols would stumble over: dots at line starts, and octets above 127."""
    lines = [f"From: {USER}", f"To: {USER}", f"Subject: {subject}", "MIME-Version: 1.0",
             "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "",
             "Grüße von einem alten Programm.", ".", "..two dots", "The end.", ""]
    return "\r\n".join(lines).encode()


def smtp():
    client = smtplib.SMTP(HOST, SMTP, timeout=PATIENCE)
    client.login(USER, PASSWORD)
    return client


def imap():
    client = imaplib.IMAP4(HOST, IMAP, timeout=PATIENCE)
    client.login(USER, PASSWORD)
    return client


def pop3():
    client = poplib.POP3(HOST, POP3, timeout=PATIENCE)
    client.user(USER)
    client.pass_(PASSWORD)
    return client


def tour():
    sent = message(f"demo {uuid.uuid4()}")
    with smtp() as client:
        assert client.sendmail(USER, [USER], sent, mail_options=["BODY=8BITMIME"]) == {}
    print(f"sent by SMTP: {len(sent)} octets", flush=True)

    client = imap()
    client.select("INBOX", readonly=True)
    newest = client.search(None, "ALL")[1][0].split()[-1].decode()
    found = client.fetch(newest, "(BODY.PEEK[])")[1][0][1]
    client.logout()
    compare("IMAP", sent, found)

    client = pop3()
    found = b"".join(line + b"\r\n" for line in client.retr(client.stat()[0])[1])
    client.quit()
    compare("POP3", sent, found)

    try:
        smtplib.SMTP(HOST, SMTP, timeout=PATIENCE).login(USER, "guess")
    except smtplib.SMTPAuthenticationError as refusal:
        assert refusal.smtp_code == 535, refusal
        print("a wrong password is refused")
    else:
        raise AssertionError("a wrong password was taken")


def compare(how, sent, found):
    assert found == sent, f"by {how}: {found!r}"
    print(f"read by {how}: the same, octet for octet", flush=True)


def hold():
    """Stops in the middle of a message and says so; goes on when nobody new is let in."""
    sent = message(f"held {uuid.uuid4()}")
    reader, sender = imap(), smtp()
    reader.select("INBOX", readonly=True)
    assert sender.mail(USER, ["BODY=8BITMIME"])[0] == 250
    assert sender.rcpt(USER)[0] == 250
    assert sender.docmd("DATA")[0] == 354
    half = len(sent) // 2
    wire = sent.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    sender.send(wire[:half])
    print("halfway", flush=True)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((HOST, SMTP), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            break
        assert time.monotonic() < end, "nobody has stopped mailwicket"
        time.sleep(0.1)
    print("mailwicket is stopping", flush=True)
    sender.send(wire[half:])
    code, words = sender.getreply()
    assert code == 250, (code, words)
    assert sender.quit()[0] == 221
    assert reader.noop()[0] == "OK"
    assert reader.logout()[0] == "BYE"
    print("both sessions ended by themselves: the message was taken")


def fence(address):
    """Whether there is a default route says nothing: Docker may leave one that leads to a filter."""
    def blocked(port):
        try:
            socket.create_connection((address, port), timeout=3).close()
        except OSError as error:
            return f"{address}:{port} cannot be reached: {error}"
        raise AssertionError(f"{address}:{port} can be reached")

    with ThreadPoolExecutor() as pool:
        for words in pool.map(blocked, PORTS):
            print(words)


def reach(address):
    for port in PORTS:
        socket.create_connection((address, port), timeout=PATIENCE).close()
        print(f"{address}:{port} can be reached")


if __name__ == "__main__":
    {"tour": tour, "hold": hold, "fence": fence, "reach": reach}[sys.argv[1]](*sys.argv[2:])
