"""What the cases about reading share."""

import tempfile
from pathlib import Path

from cases import case
from messages import MIXED
from readers import Inbox
from world import ENTRA_PASSWORD, ODD_PASSWORD


def inbox(world, port, user, password=ENTRA_PASSWORD):
    folder = Path(tempfile.mkdtemp(prefix="client-", dir=world.work))
    return Inbox(world, port.removesuffix("_direct"), world.ports[port], user, password, folder)


def same(got, wanted):
    """The same messages, in whatever order."""
    assert len(got) == len(wanted), f"{len(got)} messages, not {len(wanted)}"
    for one, other in zip(sorted(got), sorted(wanted)):
        if one != other:
            at = next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
            raise AssertionError(f"differs at {at} of {len(one)}, {len(other)}: {one[at:at + 80]!r}, not {other[at:at + 80]!r}")


def reads(protocol, reader, odd=ODD_PASSWORD):
    """Makes a case of a client that reads a mailbox: through squid, and directly with an odd password if it can."""
    def test(world):
        for port, password in ((protocol, ENTRA_PASSWORD), (f"{protocol}_direct", odd)):
            user = world.mailbox(f"{reader.__name__}-{port}", MIXED)
            same(reader(inbox(world, port, user, password)), MIXED)
    test.__name__ = f"{protocol}_{reader.__name__}"
    case(test)
