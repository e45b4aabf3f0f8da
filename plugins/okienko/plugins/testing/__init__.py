"""For plugin authors' tests: in-memory doubles, and checks that hold an object to its port (`conformance`)."""

from okienko.plugins.testing.csd import MemoryCsd
from okienko.plugins.testing.csdfaults import Fault, Faults
from okienko.plugins.testing.csdsystem import MemorySystem, MemoryTicket
from okienko.plugins.testing.doubles import FixedClock, MemoryChannel, MemoryIntake
from okienko.plugins.testing.identity import MemoryIdentity
from okienko.plugins.testing.people import invented_person, invented_pesel

__all__ = [
    "Fault",
    "Faults",
    "FixedClock",
    "MemoryChannel",
    "MemoryCsd",
    "MemoryIdentity",
    "MemoryIntake",
    "MemorySystem",
    "MemoryTicket",
    "invented_person",
    "invented_pesel",
]
