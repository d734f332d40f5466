"""A legacy client, octet by octet."""

import base64
import socket


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Dialogue:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()

    def write(self, octets):
        self.socket.sendall(octets)

    def reply(self):
        lines = []
        while True:
            line = self.file.readline().decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    def say(self, line):
        self.write(line.encode() + b"\r\n")
        return self.reply()

    def log_in(self, user, password):
        self.say("EHLO client.test")
        return self.say("AUTH PLAIN " + b64(f"\0{user}\0{password}"))

    def close(self):
        self.file.close()
        self.socket.close()
