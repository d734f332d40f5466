"""Logging in at squid by every scheme, against the checks of others: squid's own, Samba's, MIT Kerberos'."""

import contextlib
import hashlib
import os
import re
import smtplib
import subprocess

from cases import case
from messages import ODD
from world import MAILWICKET, PASSWORD, PROXY_PASSWORD, USER, listens, run, wait_for

WITH_PASSWORD = 'username = "{user}"\npassword = {{ env = "PROXY_PASSWORD" }}\n'
BASIC = "auth_param basic program /usr/lib/squid/basic_ncsa_auth {work}/squid.passwd\nauth_param basic realm company"
DIGEST = "auth_param digest program /usr/lib/squid/digest_file_auth -c {work}/squid.digest\nauth_param digest realm company"
NTLM = ("auth_param ntlm program /usr/bin/ntlm_auth --configfile={work}/smb.conf --helper-protocol=squid-2.5-ntlmssp "
        "--username=svc-mail --password={password}\nauth_param ntlm children 5")
FAKE_NTLM = "auth_param ntlm program /usr/lib/squid/ntlm_fake_auth\nauth_param ntlm children 5"
NEGOTIATE = "auth_param negotiate program /usr/lib/squid/negotiate_kerberos_auth -k {work}/kdc/keytab -s HTTP/localhost@EXAMPLE.TEST"


class Way:
    """Squid with these schemes, and a mailwicket that knows only the way through it."""

    def __init__(self, world):
        self.world = world
        self.log = world.path("log", "login-squid.log")

    def send(self):
        with smtplib.SMTP("127.0.0.1", self.world.ports["login_smtp"], timeout=60) as session:
            session.login(USER, PASSWORD)
            session.sendmail(USER, [USER], ODD)
        self.world.arrives(ODD)

    def refused(self):
        """What a client is told."""
        with smtplib.SMTP("127.0.0.1", self.world.ports["login_smtp"], timeout=60) as session:
            try:
                session.login(USER, PASSWORD)
            except smtplib.SMTPAuthenticationError as error:
                return f"{error.smtp_code} {error.smtp_error.decode()}"
        raise AssertionError("logged in")

    def told(self):
        """What mailwicket's log says."""
        return self.world.log("login.out")

    def seen(self):
        """The answers in squid's log for each tunnel that it opened, in order, and the users. A tunnel is
        logged when it ends, so this ends squid first. How many a first message takes is Postfix's
        affair, which cuts the first long line."""
        self.world.stop("login-squid")
        lines = [line.split() for line in self.log.read_text().splitlines() if " CONNECT " in line]
        statuses = " ".join(line[3].split("/")[1] for line in lines)
        return re.findall("(?:[0-9]+ )*?200|[0-9]+", statuses), {line[7] for line in lines if line[3].endswith("/200")}


@contextlib.contextmanager
def way(world, auth, login, user="svc-mail", password=PROXY_PASSWORD, environment=()):
    for name in ("login-squid.log", "login.out"):
        world.path("log", name).unlink(missing_ok=True)
    prepare(world)
    schemes = "\n".join(auth).format(work=world.work, password=PROXY_PASSWORD)
    world.write("login-squid.conf", "login-squid.conf", auth=schemes, log=world.path("log", "login-squid.log"))
    hashed = run(MAILWICKET, "hash-password", input=f"{PASSWORD}\n", text=True).stdout.strip()
    world.write("login.toml", "login.toml", mode=0o600, hash=hashed, login=login.format(user=user))
    squid = dict(os.environ, KRB5_CONFIG=str(world.path("krb5.conf")))
    world.spawn("login-squid", "squid", "-N", "-f", world.path("login-squid.conf"), env=squid)
    wait_for("squid", lambda: listens(world.ports["login_squid"]))
    ours = {"PATH": os.environ["PATH"], "PROXY_PASSWORD": password, "KRB5_CONFIG": str(world.path("krb5.conf")),
            "KRB5CCNAME": "FILE:/nonexistent/cache", **dict(environment)}
    world.spawn("login", MAILWICKET, "--config", world.path("login.toml"), env=ours)
    wait_for("mailwicket", lambda: listens(world.ports["login_smtp"]))
    try:
        yield Way(world)
    finally:
        world.stop("login")
        world.stop("login-squid")


def prepare(world):
    """What the helpers read: once."""
    if world.path("smb.conf").exists():
        return
    hashed = hashlib.md5(f"svc-mail:company:{PROXY_PASSWORD}".encode()).hexdigest()
    world.path("squid.digest").write_text(f"svc-mail:company:{hashed}\n")
    world.path("samba").mkdir()
    world.path("samba").chmod(0o777)
    world.write("smb.conf", "smb.conf")
    world.path("kdc").mkdir()
    world.write("kdc/kdc.conf", "kdc.conf")
    world.write("krb5.conf", "krb5.conf", nobody=world.ports["kdc_closed"])
    environment = kerberos(world)
    run("kdb5_util", "create", "-s", "-r", "EXAMPLE.TEST", "-P", "master-canary", env=environment)
    for command in (f"addprinc -pw {PROXY_PASSWORD} +requires_preauth svc-mail", f"addprinc -pw {PROXY_PASSWORD} -requires_preauth old-mail",
                    f"addprinc -pw {PROXY_PASSWORD} -e aes128-cts:normal small-mail", f"addprinc -pw {PROXY_PASSWORD} -allow_tix locked-mail",
                    "addprinc -randkey HTTP/localhost", f"ktadd -k {world.path('kdc/keytab')} HTTP/localhost"):
        run("kadmin.local", "-r", "EXAMPLE.TEST", "-q", command, env=environment)
    world.path("kdc/keytab").chmod(0o644)
    start_kdc(world)


def start_kdc(world):
    world.spawn("kdc", "krb5kdc", "-n", "-r", "EXAMPLE.TEST", env=kerberos(world))
    wait_for("the KDC", lambda: listens(world.ports["kdc"]))


def kerberos(world):
    return dict(os.environ, KRB5_CONFIG=str(world.path("krb5.conf")), KRB5_KDC_PROFILE=str(world.path("kdc/kdc.conf")))


# What works ---------------------------------------------------------------------------------------

@case
def proxy_login_by_digest(world):
    for setting in ("", 'proxy_auth = "digest"\n'):
        with way(world, [DIGEST, BASIC], WITH_PASSWORD + setting) as through:
            through.send()
            tunnels, users = through.seen()
            assert len(tunnels) >= 2 and set(tunnels) == {"407 200"}, tunnels
            assert users == {"svc-mail"}, users


@case
def proxy_login_by_basic_where_nothing_better_is_offered(world):
    with way(world, [BASIC], WITH_PASSWORD) as through:
        through.send()
        tunnels, users = through.seen()
        assert tunnels[0] == "407 200" and set(tunnels[1:]) == {"200"}, tunnels
        assert users == {"svc-mail"}, users


@case
def proxy_login_by_ntlm_that_samba_verifies(world):
    for user, setting in (("svc-mail", ""), ("CORP\\\\svc-mail", 'proxy_auth = "ntlm"\n')):
        with way(world, [NTLM, BASIC], WITH_PASSWORD + setting, user=user) as through:
            through.send()
            through.send()
            tunnels, users = through.seen()
            assert tunnels[0] == ("407 200" if setting else "407 407 200") and set(tunnels[1:]) == {"407 200"}, tunnels
            assert users and all(user.lower().endswith("svc-mail") for user in users), users


@case
def proxy_login_by_ntlm_of_squids_own_test_helper(world):
    with way(world, [FAKE_NTLM], WITH_PASSWORD) as through:
        through.send()
        tunnels, _ = through.seen()
        assert tunnels[0] == "407 407 200" and set(tunnels[1:]) == {"407 200"}, tunnels


@case
def proxy_login_by_kerberos_with_a_password(world):
    """With proof in advance and without, and with another size of key."""
    for user in ("svc-mail", "old-mail@example.test", "small-mail"):
        with way(world, [NEGOTIATE, NTLM, BASIC], WITH_PASSWORD, user=user) as through:
            through.send()
            asked = world.log("kdc.log").count("TGS_REQ")
            through.send()
            assert world.log("kdc.log").count("TGS_REQ") == asked, "the ticket is kept"
            tunnels, users = through.seen()
            assert tunnels[0] == "407 200" and set(tunnels[1:]) == {"200"}, tunnels
            assert users == {f"{user.split('@')[0]}@EXAMPLE.TEST"}, users


@case
def proxy_login_by_kerberos_with_a_ticket(world):
    cache = world.path("ticket")
    prepare(world)
    run("kinit", "-c", f"FILE:{cache}", "svc-mail", input=f"{PROXY_PASSWORD}\n", text=True, env=kerberos(world))
    for setting in ("", 'proxy_auth = "negotiate"\n'):
        with way(world, [NEGOTIATE, BASIC], setting, environment={"KRB5CCNAME": f"FILE:{cache}"}) as through:
            through.send()
            tunnels, users = through.seen()
            assert tunnels[0] == ("200" if setting else "407 200") and set(tunnels[1:]) == {"200"}, tunnels
            assert users == {"svc-mail@EXAMPLE.TEST"}, users


@case
def proxy_login_without_a_kdc_goes_on_with_ntlm(world):
    prepare(world)
    world.stop("kdc")
    try:
        with way(world, [NEGOTIATE, NTLM], WITH_PASSWORD) as through:
            through.send()
            tunnels, _ = through.seen()
            assert tunnels[0] == "407 407 200" and set(tunnels[1:]) == {"407 200"}, tunnels
    finally:
        start_kdc(world)


# What does not ------------------------------------------------------------------------------------

@case
def proxy_login_with_a_wrong_password_is_tried_once(world):
    for auth, user, said in ((BASIC, "svc-mail", "does not accept user and password by Basic"),
                             (DIGEST, "svc-mail", "does not accept user and password by Digest"),
                             (NTLM, "svc-mail", "does not accept user and password by NTLM"),
                             (f"{NEGOTIATE}\n{NTLM}", "svc-mail", "KDC of EXAMPLE.TEST does not accept the password of svc-mail"),
                             (f"{NEGOTIATE}\n{NTLM}", "old-mail", "KDC of EXAMPLE.TEST does not accept the password of old-mail"),
                             (f"{NEGOTIATE}\n{NTLM}", "locked-mail", "is disabled, locked or expired")):
        with way(world, [auth], WITH_PASSWORD, user=user, password="wrong-canary") as through:
            for _ in range(3):
                reply = through.refused()
                assert reply.startswith("454 4.7.0 ") and "proxy" in reply, reply
            answers, users = through.seen()
            assert not users and 1 <= len(answers) <= 3 and set(answers) == {"407"}, answers
            assert said in through.told(), through.told()[-3000:]


@case
def proxy_login_that_cannot_be_had_says_why(world):
    for auth, login, user, said in ((NEGOTIATE, "", "", "no Kerberos ticket: /nonexistent/cache"),
                                    (NEGOTIATE, WITH_PASSWORD, "nobody-mail", "KDC of EXAMPLE.TEST does not know nobody-mail"),
                                    (NEGOTIATE, WITH_PASSWORD, "svc-mail@OTHER.TEST", "no KDC of OTHER.TEST answers"),
                                    (NTLM, 'proxy_auth = "basic"\n' + WITH_PASSWORD, "svc-mail", "does not offer Basic, but by NTLM"),
                                    (DIGEST, "", "", "it wants a login by Digest")):
        with way(world, [auth], login, user=user) as through:
            assert through.refused().startswith("454 4.7.0 ")
            assert said in through.told(), through.told()[-3000:]


@case
def proxy_login_shows_no_secret(world):
    """Nothing of what the logins were made of is in a log; no_secret_anywhere looks for the passwords."""
    with way(world, [NTLM], WITH_PASSWORD) as through:
        through.send()
        assert not re.search("TlRMTVNT|YII[A-Z]|response=", through.told())
