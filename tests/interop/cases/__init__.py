"""The cases, by job. Each is a function that raises where something does not hold."""

CASES = []


def case(function):
    """Makes a function a case; they run in the order in which they are told."""
    CASES.append(function)
    return function
