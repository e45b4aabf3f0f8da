"""For plugin authors' tests: in-memory doubles, and checks that hold an object to its port (`conformance`)."""

from okienko.plugins.testing.doubles import (
    FixedClock,
    MemoryChannel,
    MemoryCsd,
    MemoryIdentity,
    MemoryIntake,
    MemoryTicket,
)

__all__ = ["FixedClock", "MemoryChannel", "MemoryCsd", "MemoryIdentity", "MemoryIntake", "MemoryTicket"]
