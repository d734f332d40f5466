"""TLS on mailwicket's side: clients that verify its certificate."""

import imaplib
import poplib
import smtplib
import ssl
import subprocess

from cases import case
from cases.smtp import client
from messages import ODD
from world import ENTRA_PASSWORD, PASSWORD, USER, wait_for


def trusts(world):
    """What a client that knows the suite's authority has."""
    return ssl.create_default_context(cafile=world.path("tls/ca.pem"))


@case
def curl_by_starttls_and_smtps(world):
    for url, more in ((f"smtp://localhost:{world.ports['smtp_tls']}", ["--ssl-reqd"]), (f"smtps://localhost:{world.ports['smtps']}", [])):
        client(world, "curl", "-sS", f"{url}/client.test", *more, "--cacert", world.path("tls/ca.pem"), "--user", f"{USER}:{PASSWORD}",
               "--mail-from", USER, "--mail-rcpt", USER, "-T", "FILE")


@case
def curl_reads_by_starttls_and_at_once(world):
    user = world.mailbox("curl-tls", [ODD])
    for scheme, port, path in (("imap", "imap_tls", "/INBOX;MAILINDEX=1"), ("pop3", "pop3_tls", "/1")):
        for scheme, more in ((scheme, ["--ssl-reqd"]), (scheme + "s", [])):
            done = subprocess.run(["curl", "-sS", f"{scheme}://localhost:{world.ports[port]}{path}", *more, "--cacert",
                                   str(world.path("tls/ca.pem")), "--user", f"{user}:{ENTRA_PASSWORD}"], capture_output=True, timeout=60)
            assert done.returncode == 0, f"{scheme}: {done.stderr}"
            assert done.stdout.rstrip() == ODD.rstrip(), f"{scheme}: {done.stdout[:200]}"


@case
def swaks_by_starttls_and_at_once(world):
    for port, how in (("smtp_tls", "-tls"), ("smtps", "--tls-on-connect")):
        client(world, "swaks", "--server", "localhost", "--port", world.ports[port], how, "--tls-verify", "--tls-ca-path", world.path("tls/ca.pem"),
               "--auth", "LOGIN", "--auth-user", USER, "--auth-password", PASSWORD, "--from", USER, "--to", USER, "--data", "@FILE",
               "--helo", "client.test", octets=ODD.removesuffix(b"\r\n"), arrives=ODD)


@case
def msmtp_with_auth_on(world):
    """In clear it refuses to choose a mechanism by itself."""
    for port, starttls in (("smtp_tls", "on"), ("smtps", "off")):
        done = subprocess.run(["msmtp", "--host=localhost", f"--port={world.ports[port]}", "--auth=on", "--tls=on", f"--tls-starttls={starttls}",
                               f"--tls-trust-file={world.path('tls/ca.pem')}", f"--user={USER}", f"--passwordeval=echo {PASSWORD}",
                               f"--from={USER}", USER], input=ODD.replace(b"\r\n", b"\n"), capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        world.arrives(ODD)


@case
def python_by_starttls_and_at_once(world):
    context = trusts(world)
    with smtplib.SMTP("localhost", world.ports["smtp_tls"], timeout=60) as session:
        session.ehlo()
        assert session.has_extn("starttls") and not session.has_extn("auth"), session.esmtp_features
        session.starttls(context=context)
        session.login(USER, PASSWORD)
        session.sendmail(USER, [USER], ODD)
    world.arrives(ODD)
    with smtplib.SMTP_SSL("localhost", world.ports["smtps"], timeout=60, context=context) as session:
        session.login(USER, PASSWORD)
        session.sendmail(USER, [USER], ODD)
    world.arrives(ODD)

    user = world.mailbox("python-tls", [ODD])
    port = world.ports["imap_tls"]
    by_starttls = imaplib.IMAP4("localhost", port)
    assert by_starttls.starttls(context)[0] == "OK"
    for session in (by_starttls, imaplib.IMAP4_SSL("localhost", port, ssl_context=context), imaplib.IMAP4("localhost", port)):
        session.login(user, ENTRA_PASSWORD)
        assert session.select("INBOX") == ("OK", [b"1"])
        session.logout()

    port = world.ports["pop3_tls"]
    by_stls = poplib.POP3("localhost", port, timeout=60)
    assert by_stls.stls(context).startswith(b"+OK")
    for session in (by_stls, poplib.POP3_SSL("localhost", port, context=context, timeout=60), poplib.POP3("localhost", port, timeout=60)):
        session.user(user)
        session.pass_(ENTRA_PASSWORD)
        assert session.stat()[0] == 1
        session.quit()


@case
def a_client_that_does_not_know_the_authority_is_told_of_in_the_log(world):
    try:
        imaplib.IMAP4_SSL("localhost", world.ports["imap_tls"], ssl_context=ssl.create_default_context())
    except ssl.SSLCertVerificationError:
        pass
    else:
        raise AssertionError("it trusted anybody")
    wait_for("the log", lambda: "does not know the authority of our certificate" in world.log("mailwicket.out"))


@case
def a_client_of_tls_1_0_is_told_of_in_the_log(world):
    """What OpenSSL says when it may speak nothing newer."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{world.ports['smtps']}", "-tls1", "-cipher", "ALL:@SECLEVEL=0"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert "protocol version" in done.stderr or "handshake failure" in done.stderr, done.stderr
    assert "TLS 1.0 and 1.1 are not spoken here" in world.log("mailwicket.out")
