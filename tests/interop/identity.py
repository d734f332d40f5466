"""An identity provider that others wrote, a mailwicket that knows it, and people who sign in there."""

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from functools import cache

from runtimes import node
from world import MAILWICKET, PASSWORD, listens, run, wait_for

# The app whose access tokens live for so many seconds only, and whose refresh tokens are therefore
# used again and again; servers/oidc.js has both.
ROTATING, SHORT_LIFE = "bbbbbbbb-1111-4222-8333-444444444444", 4


@cache
def identity(world):
    """The one of this world, started on first use."""
    return Identity(world)


class Identity:
    def __init__(self, world):
        self.world = world
        # All that `sign-in` and `check` have printed, and the codes that went over the browser's address.
        self.printed, self.codes = "", set()
        hashed = run(MAILWICKET, "hash-password", input=f"{PASSWORD}\n", text=True).stdout.strip()
        world.path("oidc_secret").write_text("oidc-canary-secret~value\n")
        world.path("oidc_secret").chmod(0o600)
        world.write("identity.toml", "identity.toml", mode=0o600, hash=hashed)
        world.spawn("oidc", *node(world, "oidc.js", world.ports["oidc"], world.work, folder="servers"))
        wait_for("oidc-provider", lambda: listens(world.ports["oidc"]))
        self.start()

    # The process --------------------------------------------------------------------------------

    def command(self, *words):
        return [str(word) for word in (MAILWICKET, *words, "--config", self.world.path("identity.toml"))]

    def start(self):
        self.world.spawn("identity", *self.command(), env=self.world.environment())
        wait_for("mailwicket", lambda: listens(self.world.ports["imap_identity"]))

    def check(self, user):
        """Its exit code and all it says."""
        done = subprocess.run(self.command("check", "--account", user), env=self.world.environment(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        self.printed += done.stdout
        return done.returncode, done.stdout

    # Tokens -------------------------------------------------------------------------------------

    def answers(self):
        """What the token endpoint was asked, and what it said."""
        return [json.loads(line) for line in self.world.log("oidc.jsonl").splitlines()]

    def granted(self, app):
        return [line["got"] for line in self.answers() if line["status"] == 200 and line["sent"]["client_id"] == app]

    def secrets(self):
        """Every token and code that anybody was given."""
        names = ("access_token", "refresh_token", "id_token")
        return self.codes | {line["got"][name] for line in self.answers() for name in names if line["got"].get(name)}

    def refreshes(self, app, token):
        """Uses a refresh token as somebody who has stolen it does. The error, if it is one."""
        form = {"grant_type": "refresh_token", "client_id": app, "refresh_token": token}
        url = f"https://localhost:{self.world.ports['oidc']}/contoso.test/oauth2/v2.0/token"
        context = ssl.create_default_context(cafile=str(self.world.path("tls/ca.pem")))
        try:
            urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=20, context=context)
            return None
        except urllib.error.HTTPError as error:
            return json.load(error)["error"]

    # People -------------------------------------------------------------------------------------

    def sign_in(self, user, acts, paste=False):
        """`mailwicket sign-in`: `acts` is given the address to open and the code to type, if any, and is what
        a person does; what the browser ends at can be pasted. The exit code, and all that was said."""
        process = subprocess.Popen(self.command("sign-in", user), env=self.world.environment(), text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            said, asked = "", None
            for line in process.stdout:
                said += line
                if asked := re.search(r"https://\S+", line):
                    break
            assert asked, said
            code = re.search(r"the code (\S+)", line)
            end = acts(asked[0], code and code[1])
            rest, _ = process.communicate(f"{end}\n" if paste else None, timeout=60)
        finally:
            process.kill()
        self.printed += said + rest
        return process.returncode, said + rest

    def browse(self, url, user, code, *more):
        """Somebody opens the page, types the code and signs in as this user. The address and the text at the end."""
        words = [url, user, *([code] if code else []), *more]
        done = subprocess.run([str(word) for word in node(self.world, "browse.js", *words)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"the browser: {done.stderr[-2000:]}"
        end = json.loads(done.stdout)
        self.codes.update(urllib.parse.parse_qs(urllib.parse.urlsplit(end["url"]).query).get("code", []))
        return end["url"], end["text"]
