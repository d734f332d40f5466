"""Messages as clients send and read them: lines end in CRLF."""

import base64
import os

from world import USER


def message(body, subject="interop"):
    head = f"From: {USER}\r\nTo: {USER}\r\nSubject: {subject}\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n" \
           f"Message-ID: <{subject}@contoso.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" \
           "Content-Transfer-Encoding: 8bit\r\n\r\n"
    return head.encode() + body


def large(octets=25_000_000):
    """Lines of random base64."""
    lines = base64.b64encode(os.urandom(octets * 3 // 4))
    return message(b"".join(lines[at:at + 76] + b"\r\n" for at in range(0, len(lines), 76)), "large")


ODD = message("Gr\u00fc\u00dfe\r\n.\r\n..\r\n.dot\r\n\r\n".encode() + b"x" * 990 + b"\r\nThe end.\r\n", "odd")
# What every reading client meets: the odd one, an empty one, what looks like replies, and an attachment's worth.
MIXED = [ODD, message(b"", "empty"), message(b"+OK\r\n-ERR no\r\n* BYE\r\n)\r\nA1 OK done\r\n", "replies"), large(300_000)]
