"""Clients that need a build or a package manager of their own, made ready on first use."""

import os

from world import HERE, run

JARS = "/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar"


def java(world, program, *arguments, options=()):
    """The command for one of the programs in clients/; the options are JavaMail's."""
    classes = world.path("java")
    if not classes.exists():
        run("javac", "-cp", JARS, "-d", classes, *sorted(HERE.glob("clients/*.java")), timeout=120)
    # The small compiler and collector: these programs are over before others pay.
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *(f"-D{option}" for option in options),
            "-cp", f"{JARS}:{classes}", program, *arguments]


# Each by its major; playwright-core's drive a browser that is not of their own make.
PACKAGES = ("nodemailer@7", "imapflow@1", "oidc-provider@8", "playwright-core@1.58")


def node(world, script, *arguments, folder="clients"):
    """The command for one of the scripts in clients/, or in another folder here."""
    modules = world.path("node")
    if not modules.exists():
        modules.mkdir()
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", modules, *PACKAGES, timeout=120)
    return ["env", f"NODE_PATH={modules / 'node_modules'}", "node", HERE / folder / script, *arguments]
