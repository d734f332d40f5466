"""A legacy client, octet by octet."""

import base64
import socket


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Dialogue:
    def __init__(self, port, address="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(address, 0))
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, octets):
        self.socket.sendall(octets)

    def line(self):
        line = self.file.readline().decode()
        if not line:
            raise EOFError("the connection ended")
        return line.rstrip("\r\n")

    def reply(self):
        return self.line()

    def say(self, line):
        self.write(line.encode() + b"\r\n")
        return self.reply()

    def close(self):
        self.file.close()
        self.socket.close()


class Smtp(Dialogue):
    def reply(self):
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return "\n".join(lines)

    def log_in(self, user, password):
        self.say("EHLO client.test")
        return self.say("AUTH PLAIN " + b64(f"\0{user}\0{password}"))


class Pop3(Dialogue):
    def log_in(self, user, password):
        self.say(f"USER {user}")
        return self.say(f"PASS {password}")


class Imap(Dialogue):
    def reply(self):
        """Up to the tagged line, or to being asked for more; the greeting is a line of its own."""
        line = self.line()
        while line.startswith("* ") and hasattr(self, "greeting"):
            line = self.line()
        return line

    def log_in(self, user, password):
        return self.say("A1 AUTHENTICATE PLAIN " + b64(f"\0{user}\0{password}"))
