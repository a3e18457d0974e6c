"""A task's knobs: finite domains, validity, and the moves a search makes among configurations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from random import Random

Value = int | str | bool
Config = dict[str, Value]
Key = tuple[Value, ...]

# Draws before a space counts as thinly populated, and all of it is listed.
_DRAWS = 100
# Share of mutations that go to the next smaller or larger value instead of to any.
_STEPS = 0.5
# Share of mutations that change two knobs at once, such as one that is only valid with the other.
_DOUBLES = 0.3


class Space:
    """The configurations of one task: one value for each knob, as far as they are valid together.

    Parameters
    ----------
    knobs
        Name -> its values, in a meaningful order where there is one: (2, 4, 8).
    default
        The configuration of the untuned kernel; a member of the space.
    valid
        Whether a combination of values can be built; None where all can. It is called often, so
        let it take microseconds.
    derived
        Further features of a configuration for the cost model that are no single knob, such as the
        share of padded work; None for none.

    Raises
    ------
    ValueError
        A domain is empty or repeats a value, or the default is no member.
    """

    def __init__(
        self,
        knobs: Mapping[str, Sequence[Value]],
        default: Config,
        valid: Callable[[Config], bool] | None = None,
        derived: Callable[[Config], Mapping[str, float]] | None = None,
    ) -> None:
        self.knobs = {name: tuple(values) for name, values in knobs.items()}
        for name, values in self.knobs.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(f"knob {name!r} has no values, or one of them twice: {values}")
        self._valid = valid
        self._derived = derived
        self._ranks = {
            name: {value: rank for rank, value in enumerate(values)}
            for name, values in self.knobs.items()
        }
        if default.keys() != self.knobs.keys() or default not in self:
            raise ValueError(f"the default {default} is not a valid configuration of the space")
        self.default = {name: default[name] for name in self.knobs}

    @property
    def size(self) -> int:
        """Number of combinations, the invalid ones among them."""
        return math.prod(len(values) for values in self.knobs.values())

    def __contains__(self, config: Config) -> bool:
        if config.keys() != self.knobs.keys():
            return False
        known = all(config[name] in values for name, values in self.knobs.items())
        return known and (self._valid is None or self._valid(config))

    def __iter__(self) -> Iterator[Config]:
        """All valid configurations, in a fixed order."""
        for values in itertools.product(*self.knobs.values()):
            config = dict(zip(self.knobs, values, strict=True))
            if self._valid is None or self._valid(config):
                yield config

    @cached_property
    def all(self) -> list[Config]:
        """All valid configurations; for small spaces, or where drawing finds too few."""
        return list(self)

    def key(self, config: Config) -> Key:
        """What makes two configurations the same: their values in the order of the knobs."""
        return tuple(config[name] for name in self.knobs)

    def fit(self, config: Config) -> Config | None:
        """Carry a configuration over from elsewhere: a record of a near target or older knobs.

        Knobs that it lacks get the default's value. None if it names another knob, or has a value
        or a combination that is not in this space.
        """
        # In the order of the knobs; a stranger stands behind them, and is refused.
        filled = {**self.default, **config}
        return filled if filled in self else None

    def features(self, config: Config) -> dict[str, float]:
        """Numbers for a cost model: ordered knobs as they are, enumerations one-hot."""
        numbers: dict[str, float] = {}
        for name, values in self.knobs.items():
            if isinstance(config[name], str):
                numbers.update(
                    (f"{name}={value}", float(value == config[name])) for value in values
                )
            else:
                numbers[name] = float(config[name])
        return numbers | dict(self._derived(config)) if self._derived else numbers

    def distance(self, first: Config, second: Config) -> float:
        """0 for the same configuration; at most 1 for each knob: the values' distance in order."""
        total = 0.0
        for name, ranks in self._ranks.items():
            if first[name] != second[name]:
                ordered = not isinstance(first[name], str) and len(ranks) > 1
                steps = abs(ranks[first[name]] - ranks[second[name]])
                total += steps / (len(ranks) - 1) if ordered else 1.0
        return total

    def neighbours(self, config: Config) -> list[Config]:
        """All valid configurations that differ in exactly one knob."""
        changed = (
            {**config, name: value}
            for name, values in self.knobs.items()
            for value in values
            if value != config[name]
        )
        return [one for one in changed if one in self]

    def random(self, rng: Random) -> Config:
        """A valid configuration, each with the same probability."""
        for _ in range(_DRAWS):
            config = {name: rng.choice(values) for name, values in self.knobs.items()}
            if self._valid is None or self._valid(config):
                return config
        return dict(rng.choice(self.all))

    def mutate(self, config: Config, rng: Random) -> Config:
        """Change one knob or two, to adjacent values or to any; none if all draws are invalid."""
        names = [name for name, values in self.knobs.items() if len(values) > 1]
        for _ in range(_DRAWS if names else 0):
            count = 2 if len(names) > 1 and rng.random() < _DOUBLES else 1
            child = config | {
                name: self._other_value(name, config[name], rng)
                for name in rng.sample(names, count)
            }
            if self._valid is None or self._valid(child):
                return child
        return dict(config)

    def _other_value(self, name: str, value: Value, rng: Random) -> Value:
        values, rank = self.knobs[name], self._ranks[name][value]
        if not isinstance(value, str) and rng.random() < _STEPS:
            near = [at for at in (rank - 1, rank + 1) if 0 <= at < len(values)]
            return values[rng.choice(near)]
        return rng.choice([other for other in values if other != value])

    def crossover(self, first: Config, second: Config, rng: Random) -> Config:
        """Take each knob from either parent; the first one's values if the mixture is invalid."""
        child = {name: rng.choice((first[name], second[name])) for name in self.knobs}
        return child if self._valid is None or self._valid(child) else dict(first)
