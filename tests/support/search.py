"""How long hypothesis searches: as long as a test says, or fifty times as long in the profile `nightly`.

    make soak

A profile says how many examples a test gets that names no number; where a test names one, the profile stretches it
alike. No profile has a deadline: how long an example takes is the machine's affair.
"""

from hypothesis import Phase, settings

DEFAULT = settings.get_profile("default")

settings.register_profile("default", DEFAULT, deadline=None)
settings.register_profile(
    "nightly", DEFAULT, max_examples=50 * DEFAULT.max_examples, deadline=None, print_blob=True, database=None
)
settings.register_profile("mutants", DEFAULT, deadline=None, database=None, phases=[Phase.explicit, Phase.generate])


def examples(number, **more):
    """Return the settings of a test that sees so many examples in the default profile, with whatever else it sets."""
    return settings(max_examples=number * settings().max_examples // DEFAULT.max_examples, **more)


def by_day(number, at_night):
    """Return how many of something a test takes: fewer by day, more in the profile `nightly`."""
    return at_night if is_night() else number


def is_night():
    """Whether the profile is `nightly`, as in `make soak`."""
    return settings().max_examples > DEFAULT.max_examples
