"""Clients that read mail. Each fetches all messages of an inbox and gives them, lines ending in CRLF.

Most keep messages with LF, as is the custom in files; that is all that is undone here.
"""

import imaplib
import os
import poplib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runtimes import java, node
from world import NOBODY, World


@dataclass
class Inbox:
    """Where a client finds it, and a folder of the client's own."""
    world: World
    protocol: str
    port: int
    user: str
    password: str
    folder: Path

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def run(self, *command, **options):
        try:
            return subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60, cwd=self.folder,
                                  env={**os.environ, "HOME": str(self.folder), "TERM": "xterm"}, **options).stdout
        except subprocess.SubprocessError as error:
            raise AssertionError(f"{error}: {(error.stdout or b'')[-2000:]} {(error.stderr or b'')[-2000:]}") from error


def quoted(word):
    """As IMAP has it (RFC 3501 section 9), and many a configuration."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def files(folder):
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def maildir(folder):
    """What a client has put there, with LF; nothing in it had CRLF."""
    return [message.replace(b"\n", b"\r\n") for part in ("cur", "new") for message in files(folder / part)]


def curl(inbox, *options):
    url = f"{inbox.protocol}://127.0.0.1:{inbox.port}/"
    login = ["--user", f"{inbox.user}:{inbox.password}", *options]
    if inbox.protocol == "pop3":
        numbers = [line.split()[0].decode() for line in inbox.run("curl", "-sS", *login, url).splitlines()]
        return [inbox.run("curl", "-sS", *login, f"{url}{number}") for number in numbers]
    status = inbox.run("curl", "-sS", *login, url, "-X", "STATUS INBOX (MESSAGES)").decode()
    count = int(status.split("MESSAGES ")[1].split(")")[0])
    return [inbox.run("curl", "-sS", *login, f"{url}INBOX;MAILINDEX={number}") for number in range(1, count + 1)]


def python_imaplib(inbox):
    """Its own LOGIN is ASCII only."""
    with imaplib.IMAP4("127.0.0.1", inbox.port, timeout=60) as session:
        if inbox.password.isascii():
            session.login(inbox.user, inbox.password)
        else:
            session.authenticate("PLAIN", lambda _: f"\0{inbox.user}\0{inbox.password}".encode())
        session.select("INBOX", readonly=True)
        _, parts = session.fetch("1:*", "(BODY.PEEK[])")
        return [part[1] for part in parts if isinstance(part, tuple)]


def python_poplib(inbox):
    session = poplib.POP3("127.0.0.1", inbox.port, timeout=60)
    session.user(inbox.user)
    session.pass_(inbox.password)
    count, _ = session.stat()
    messages = [b"".join(line + b"\r\n" for line in session.retr(number)[1]) for number in range(1, count + 1)]
    session.quit()
    return messages


def mbsync(inbox):
    box = inbox.folder / "near"
    box.mkdir(exist_ok=True)
    config = inbox.file("mbsyncrc", f"""\
FSync no
IMAPAccount far
Host 127.0.0.1
Port {inbox.port}
User {quoted(inbox.user)}
Pass {quoted(inbox.password)}
SSLType None

IMAPStore far
Account far

MaildirStore near
Inbox {box}/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
Expunge Both
SyncState {inbox.folder}/state-
""")
    inbox.run("mbsync", "-c", config, "all")
    return [unmarked(message) for message in maildir(box / "INBOX")]


def unmarked(message):
    """Without the line by which mbsync knows a message that it has copied."""
    return re.sub(rb"X-TUID: .{12}\r\n", b"", message, count=1)


def fetchmail(inbox):
    """It may not touch the header (invisible), and gives each message to a command."""
    fetched = inbox.folder / "fetched"
    fetched.mkdir()
    user, password = (word.replace("\\", "\\\\") for word in (inbox.user, inbox.password))
    config = inbox.file("fetchmailrc", f"""\
set invisible
poll 127.0.0.1 service {inbox.port} protocol {inbox.protocol} auth password
  user '{user}' password '{password}' sslproto ""
  fetchall no rewrite mda "cat >{fetched}/$$"
""")
    inbox.run("fetchmail", "--fetchmailrc", config, "--pidfile", inbox.folder / "pid", "--idfile", inbox.folder / "ids", "--nosyslog")
    return [message.replace(b"\n", b"\r\n") for message in files(fetched)]


def getmail(inbox):
    """Delivers nothing as root; two lines in the header are its own."""
    box = inbox.folder / "maildir"
    for part in ("", "cur", "new", "tmp"):
        (box / part).mkdir()
    kind = {"imap": "SimpleIMAPRetriever", "pop3": "SimplePOP3Retriever"}[inbox.protocol]
    config = inbox.file("getmailrc", f"""\
[retriever]
type = {kind}
server = 127.0.0.1
port = {inbox.port}
username = {inbox.user}
password = {inbox.password}
[destination]
type = Maildir
path = {box}/
[options]
delivered_to = false
received = false
verbose = 0
""")
    inbox.run("chown", "-R", NOBODY, inbox.folder)
    inbox.run("getmail", "--getmaildir", inbox.folder, "--rcfile", config, user=NOBODY, group=NOBODY, extra_groups=[])
    added = re.compile(rb"^(Return-Path: <unknown>|X-getmail-retrieved-from-mailbox: INBOX)\r\n", re.MULTILINE)
    return [added.sub(b"", message) for message in maildir(box)]


def offlineimap(inbox):
    config = inbox.file("offlineimaprc", f"""\
[general]
accounts = all
metadata = {inbox.folder}/metadata
[Account all]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {inbox.folder}/near
[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {inbox.port}
remoteuser = {inbox.user}
remotepass = {inbox.password.replace("%", "%%")}
ssl = no
starttls = no
""")
    inbox.run("offlineimap", "-c", config, "-o", "-u", "quiet")
    return maildir(inbox.folder / "near/INBOX")


def mutt(inbox):
    """Copies all into a Maildir, by the keys that a person would press; two lines in the header are its own."""
    kind = {"imap": "imap", "pop3": "pop"}[inbox.protocol]
    box = inbox.folder / "maildir"
    config = inbox.file("muttrc", f"""\
set {kind}_user={quoted(inbox.user)} {kind}_pass={quoted(inbox.password)}
set ssl_starttls=no ssl_force_tls=no
set folder={inbox.folder} mbox_type=Maildir confirmappend=no confirmcreate=no copy=no delete=no move=no quit=yes sleep_time=0
push "<tag-pattern>~A<enter><tag-prefix-cond><copy-message><kill-line>{box}<enter><quit>"
""")
    terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    inbox.run("/usr/bin/python3", "-c", terminal, "mutt", "-F", config, "-f", f"{kind}://127.0.0.1:{inbox.port}/", stdin=subprocess.DEVNULL)
    added = re.compile(rb"Content-Length: \d+\r\nLines: \d+\r\n")
    return [added.sub(b"", message, count=1) for message in maildir(box)]


def imapflow(inbox):
    inbox.run(*node(inbox.world, "read.js", inbox.port, inbox.user, inbox.password, inbox.folder))
    return files(inbox.folder)


def javamail(inbox, *options):
    arguments = inbox.protocol, inbox.port, inbox.user, inbox.password, inbox.folder
    inbox.run(*java(inbox.world, "Read", *arguments, options=options))
    return files(inbox.folder)
