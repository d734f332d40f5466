"""What must not show, and where it is looked for."""

import base64
import re


def clear_of(text, words, encoded=None):
    """None of the words shows, and none of those that may be encoded (all, if left out) in base64 at any offset."""
    for word in words:
        assert word not in text, f"{word[:40]} shows: {text[max(0, text.index(word) - 200):][:300]}"
    octets = [word.encode() for word in (words if encoded is None else encoded)]
    for run in set(re.findall(r"[A-Za-z0-9+/]{12,}", text)):
        for at in range(4):
            decoded = base64.b64decode(run[at:][:(len(run) - at) // 4 * 4])
            assert not any(word in decoded for word in octets), f"base64 of a secret shows: {run[:20]}"
