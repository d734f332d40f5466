"""A token endpoint with Entra's JSON shapes; its tokens are signed with a key that Dovecot knows.

Usage: entra.py PORT CERTIFICATE KEY SIGNING_KEY LOG
"""

import json
import ssl
import sys
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

PORT, CERTIFICATE, KEY, SIGNING_KEY, LOG = sys.argv[1:]
TENANT = "contoso.test"
APP, SECRET = "11111111-2222-4333-8444-555555555555", "entra-canary-secret~value"
PUBLIC_APP = "99999999-2222-4333-8444-555555555555"
PASSWORDS = ("entra-canary-password", 'odd canary "w\u00f6rd" \\ {7} %')  # every user's
SIGNING = open(SIGNING_KEY).read()


def refusal(status, error, code, text):
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    trace, correlation = uuid.uuid4(), uuid.uuid4()
    return status, {
        "error": error,
        "error_description": f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}",
        "error_codes": [code], "timestamp": stamp, "trace_id": str(trace), "correlation_id": str(correlation),
        "error_uri": f"https://login.microsoftonline.com/error?code={code}",
    }


def grant(user, refresh):
    now = int(time.time())
    claims = {"aud": "https://outlook.office365.com", "iss": "https://sts.windows.net/contoso/", "iat": now,
              "nbf": now, "sub": user, "exp": now + 4000, "upn": user, "roles": "SMTP.SendAsApp", "padding": ""}
    # About what an Entra token takes. No claim is an array, as Entra's roles are: over those Debian
    # 12's Dovecot stumbles and crashes.
    claims["padding"] = "x" * (1800 - len(json.dumps(claims, separators=(",", ":"))))
    answer = {"token_type": "Bearer", "expires_in": 3999, "ext_expires_in": 3999,
              "access_token": jwt.encode(claims, SIGNING, algorithm="RS256")}
    if refresh:
        answer["refresh_token"] = str(uuid.uuid4())
    return 200, answer


def answer(form):
    kind = form.get("grant_type")
    if kind == "client_credentials":
        if form.get("client_id") != APP or form.get("client_secret") != SECRET:
            return refusal(401, "invalid_client", 7000215, "Invalid client secret provided.")
        if form.get("scope") != "https://outlook.office365.com/.default":
            return refusal(400, "invalid_scope", 70011, "The provided value for scope is not valid.")
        return grant("scanner@contoso.test", False)
    if kind == "password":
        if form.get("client_id") != PUBLIC_APP:
            return refusal(401, "invalid_client", 7000218, "The request body must contain a secret.")
        if not form.get("username", "").endswith("@contoso.test") or form.get("password") not in PASSWORDS:
            return refusal(400, "invalid_grant", 50126, "Error validating credentials.")
        return grant(form["username"], True)
    return refusal(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(urllib.parse.parse_qsl(body))
        if self.path == f"/{TENANT}/oauth2/v2.0/token":
            status, said = answer(form)
        else:
            status, said = refusal(400, "invalid_request", 90002, "Tenant not found.")
        with open(LOG, "a") as log:
            print(form.get("grant_type"), status, file=log)
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(PORT)), Endpoint)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
