"""Every grant that oidc-provider knows; its tokens open mailboxes of Dovecot."""

import time
from pathlib import Path

from canaries import clear_of
from cases import case
from dialogue import Imap
from identity import ROTATING, SHORT_LIFE, identity
from messages import ODD
from world import PASSWORD, wait_for


def log_in(world, name):
    """Logs in through mailwicket, and looks for the message that is there. What the login was told."""
    user = f"{name}@contoso.test"
    if not world.path("mail", user).exists():
        world.mailbox(name, [ODD])
    with Imap(world.ports["imap_identity"]) as session:
        told = session.log_in(user, PASSWORD)
        if told.startswith("A1 OK "):
            session.write(b"A2 SELECT INBOX\r\n")
            lines = [session.line()]
            while not lines[-1].startswith("A2 "):
                lines.append(session.line())
            assert "* 1 EXISTS" in lines and lines[-1].startswith("A2 OK "), lines
        return told


def works(world, name):
    told = log_in(world, name)
    assert told.startswith("A1 OK "), told


def waits_for_a_person(world, name):
    told = log_in(world, name)
    assert told.startswith("A1 NO ") and "mailwicket sign-in" in told, told


def signs_in(world, name):
    """By whichever grant, in Chromium; it must come to a good end."""
    it, user, pages = identity(world), f"{name}@contoso.test", []
    code, said = it.sign_in(user, lambda *asked: pages.append(it.browse(asked[0], user, asked[1])))
    assert code == 0 and f"{user} is signed in" in said, (code, said, pages)
    return pages[0]


# Apps ---------------------------------------------------------------------------------------------

@case
def identity_an_app_by_its_secret(world):
    identity(world)
    works(world, "copier")


@case
def identity_an_app_by_its_certificate(world):
    """private_key_jwt, RFC 7523; the provider also finds the certificate by its x5t#S256."""
    identity(world)
    works(world, "printer")


# Persons ------------------------------------------------------------------------------------------

@case
def identity_a_code_in_a_browser(world):
    """PKCE, RFC 7636. Until somebody has signed in all say so; then a mailwicket that runs takes it up."""
    it = identity(world)
    code, said = it.check("browser@contoso.test")
    assert code == 69 and "mailwicket sign-in browser@contoso.test" in said, said
    waits_for_a_person(world, "browser")
    url, text = signs_in(world, "browser")
    assert url.startswith("http://localhost:") and "browser@contoso.test is signed in." in text, (url, text)
    works(world, "browser")


@case
def identity_check_knows_who_has_signed_in(world):
    it = identity(world)
    code, said = it.check("browser@contoso.test")
    assert code == 0 and "browser@contoso.test: logged in over imap" in said, said


@case
def identity_somebody_else_signs_in(world):
    it, vault = identity(world), world.path("identity.vault")
    before, pages = vault.read_bytes(), []
    code, said = it.sign_in("pasted@contoso.test", lambda url, _: pages.append(it.browse(url, "other@contoso.test", None)))
    assert code == 69 and "other@contoso.test" in said and "remedy: " in said, (code, said)
    assert "other@contoso.test" in pages[0][1], pages
    assert vault.read_bytes() == before, "something was stored"
    waits_for_a_person(world, "pasted")


@case
def identity_a_pasted_address(world):
    """The browser is on another machine, where nothing listens at the address at which it ends."""
    it = identity(world)

    def elsewhere(url, _):
        return it.browse(url, "pasted@contoso.test", None, "--elsewhere")[0]
    code, said = it.sign_in("pasted@contoso.test", elsewhere, paste=True)
    assert code == 0 and "pasted@contoso.test is signed in" in said, (code, said)
    works(world, "pasted")


@case
def identity_a_code_for_a_device(world):
    """RFC 8628."""
    url, text = signs_in(world, "device")
    assert "/devicelogin/" in url and "success" in text.lower(), (url, text)
    works(world, "device")


# Refresh tokens -----------------------------------------------------------------------------------

@case
def identity_a_refresh_token_for_each_refresh(world):
    """Renewed at half of a short life, and after a restart when the access token has ended meanwhile."""
    it = identity(world)
    signs_in(world, "rotating")
    works(world, "rotating")

    def renewed():
        """As often as mailwicket has written it down."""
        return world.log("identity.out").count('event="token" app="rotating"')
    wait_for("two renewals", lambda: renewed() >= 2)
    works(world, "rotating")
    count = renewed()
    wait_for("another", lambda: renewed() > count)
    assert world.stop("identity") == 0  # long before the next
    before = it.granted(ROTATING)
    time.sleep(SHORT_LIFE)
    it.start()
    works(world, "rotating")
    after = it.granted(ROTATING)
    assert len(after) > len(before), "the access token has ended"
    tokens = [got["refresh_token"] for got in after]
    assert len(set(tokens)) == len(tokens) >= 5, tokens
    refused = [line for line in it.answers() if line["sent"]["client_id"] == ROTATING and line["status"] != 200]
    assert not refused, refused
    works(world, "browser")  # by the access token that the vault has kept


@case
def identity_a_sign_in_that_was_revoked(world):
    """A refresh token that is used twice has been stolen: the provider ends the sign-in (RFC 9700 section 4.14.2)."""
    it = identity(world)
    if not it.granted(ROTATING):
        signs_in(world, "rotating")
    works(world, "rotating")
    wait_for("a renewal", lambda: len(it.granted(ROTATING)) >= 2)
    error = it.refreshes(ROTATING, it.granted(ROTATING)[0]["refresh_token"])
    assert error == "invalid_grant", error
    wait_for("mailwicket's notice", lambda: 'event="needs_sign_in" account="rotating@contoso.test"' in world.log("identity.out"))
    wait_for("the end of the token", lambda: log_in(world, "rotating").startswith("A1 NO "))
    waits_for_a_person(world, "rotating")
    signs_in(world, "rotating")
    works(world, "rotating")


# Secrets ------------------------------------------------------------------------------------------

@case
def identity_no_token_in_clear(world):
    """Neither in the vault nor in the log, nor in what was printed."""
    it = identity(world)
    works(world, "copier")
    tokens = it.secrets()
    vault = world.path("identity.vault").read_bytes().decode("latin-1")
    clear_of(vault, tokens | {"contoso"})
    assert world.path("identity.vault").stat().st_mode & 0o077 == 0
    log = world.log("identity.out")
    assert "session_end" in log and "DEBUG" in log, "the log was kept"
    text = log + it.printed + Path(f"/proc/{world.running['identity'].pid}/cmdline").read_text()
    clear_of(text, tokens | {"canary", "eyJ"}, encoded=tokens | {"canary"})
    return f"{len(tokens)} tokens and codes"
