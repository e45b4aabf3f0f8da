"""For plugin authors' tests: in-memory doubles, and checks that hold an object to its port (`conformance`)."""

from okienko.plugins.testing.doubles import (
    FixedClock,
    MemoryChannel,
    MemoryCsd,
    MemoryIntake,
    MemoryTicket,
)
from okienko.plugins.testing.identity import MemoryIdentity
from okienko.plugins.testing.people import invented_person, invented_pesel

__all__ = [
    "FixedClock",
    "MemoryChannel",
    "MemoryCsd",
    "MemoryIdentity",
    "MemoryIntake",
    "MemoryTicket",
    "invented_person",
    "invented_pesel",
]
