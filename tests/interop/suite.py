"""Runs the cases, all or those that are named; `run` starts this."""

import sys
import time

from cases import CASES
from cases import smtp, imap, pop3, local_tls, proxy_login, service, identity, proxy_ways, process  # noqa: F401, in this order
from world import World


def passes(test, world):
    started = time.monotonic()
    try:
        said = test(world)
        print(f"ok    {test.__name__} ({time.monotonic() - started:.1f} s{f'; {said}' if said else ''})", flush=True)
        return True
    except Exception as error:  # whatever it is, the other cases still run
        print(f"FAIL  {test.__name__}: {type(error).__name__}: {error}", flush=True)
        world.delivered()
        return False


def main():
    names = sys.argv[1:] or [test.__name__ for test in CASES]
    unknown = set(names) - {test.__name__ for test in CASES}
    if unknown:
        sys.exit(f"no such case: {' '.join(sorted(unknown))}")
    world = World()
    results = []
    try:
        started = time.monotonic()
        world.set_up()
        print(f"servers up in {time.monotonic() - started:.1f} s", flush=True)
        results = [passes(test, world) for test in CASES if test.__name__ in names]
    finally:
        world.tear_down()
        good = bool(results) and all(results)
        if not good:
            for log in sorted(world.path("log").iterdir()):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
    if good:
        world.remove()
    else:
        print(f"kept: {world.work}")
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(not good)


main()
