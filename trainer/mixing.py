"""From approved tasks to a mixture: weights per domain, a cap per contributor, a seed, and one frozen order.

What yields to what: the cap is kept always, the weights are kept always, the size gives way. A mixture that cannot keep
both cap and weights at any size is refused. The same tasks, recipe and seed give the same digest in whatever order the
tasks arrive; a task is ranked by a seeded hash of its content, so no random state is carried around and no id matters.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
import xxhash
from msgspec import Meta
from scipy.optimize import linprog
from scipy.sparse import dok_array

from tasks.errors import Invalid

REST = "*"  # stands for all domains without a weight of their own


@dataclass(frozen=True, slots=True)
class Candidate:
    """What mixing needs to know of an approved task."""

    task: str  # id
    domain: str
    contributor: str
    exact_key: str
    dataset: str = ""  # digest of the dataset version it comes from
    family: str = ""  # near-duplicate family, "" : its own
    arrived: int = 0  # of tasks with one exact key the first to arrive is taken
    content: str = ""  # digest of what it asks and expects, "" : its id
    pass_rate: float | None = None  # of the line's champion, in [0, 1]; None: not measured

    @property
    def name(self) -> str:
        """What ranks and digest go by: ids differ where the same files were imported in another order."""
        return self.content or self.task


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tasks teach, by the champion's pass rate: the share of its graded answers that are right.

    Tasks from `min` to `max`, both included, are mixed. What a model always solves leaves every group of answers
    without spread; 0.625 (5 of 8) is where training.md found that a task has little left to teach.
    """

    min: Annotated[float, Meta(ge=0, le=1)] = 0.0  # 0: what was never solved stays in
    max: Annotated[float, Meta(ge=0, le=1)] = 0.625  # 1: nothing leaves as solved
    unknown: Literal["keep", "leave"] = "keep"  # tasks whose rate was not measured


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a mixture should look like.

    `weights` are shares of the mixture. Domains without one divide what the weights leave, in proportion to their
    tasks. Weights that add up to 1 or more are read as ratios and leave nothing for others; 0 keeps a domain out.
    """

    weights: dict[str, Annotated[float, Meta(ge=0)]] = {}
    cap_per_contributor: Annotated[float, Meta(gt=0, le=1)] = 1.0  # share of the mixture; 1: no cap
    per_family: Annotated[int, Meta(ge=0)] = 0  # tasks of one near-duplicate family; 0: no cap
    size: Annotated[int, Meta(ge=0)] = 0  # tasks; 0: as many as weights and cap allow
    seed: int = 0
    difficulty: Band | None = None  # None: whatever the champion makes of them


class Count(msgspec.Struct, frozen=True):
    name: str
    available: int  # before weights and cap
    used: int  # after
    share: float  # of the mixture


class MixturePlan(msgspec.Struct, frozen=True):
    tasks: list[str]  # ids in training order
    digest: str
    recipe: Recipe
    datasets: list[str]
    domains: list[Count]
    contributors: list[Count]
    repeated: int  # left out: another task has the same prompt
    in_family: int  # left out: enough tasks of their family are in
    solved: int  # left out: the champion solves them too often
    too_hard: int  # left out: the champion solves them too rarely
    unknown: int  # without a pass rate, where the recipe asks for one: kept or left out as it says
    sentences: list[str]  # what bound

    @property
    def size(self) -> int:
        return len(self.tasks)


Cell = tuple[str, str]  # (weighted domain or REST, contributor)


def mix(candidates: Iterable[Candidate], recipe: Recipe) -> MixturePlan:
    """Raises Invalid where there is nothing to mix or no size keeps both weights and cap."""
    check(recipe)
    offered = sorted(candidates, key=lambda c: (c.arrived, c.task))
    unique = _first_of_each_prompt(offered)
    teaching, by_band = _within_band(unique, recipe.difficulty)
    pool = _within_families(teaching, recipe)
    shares, sentences = _shares(pool, recipe)
    ranked = _ranked(
        [c for c in pool if _cell(c, shares)[0] in shares and recipe.weights.get(c.domain) != 0], recipe.seed
    )
    cells = _cells(ranked, shares)
    taken = _allocate(ranked, cells, shares, recipe, sentences)
    chosen = [candidate for cell, count in taken.items() for candidate in cells[cell][:count]]
    order = [candidate for _, candidate in _spread(chosen, recipe.seed)]
    datasets = sorted({candidate.dataset for candidate in offered})
    return MixturePlan(
        tasks=[candidate.task for candidate in order],
        digest=digest_of(recipe, datasets, [candidate.name for candidate in order]),
        recipe=recipe,
        datasets=datasets,
        domains=_counts([c.domain for c in unique], [c.domain for c in chosen]),
        contributors=_counts([c.contributor for c in unique], [c.contributor for c in chosen]),
        repeated=len(offered) - len(unique),
        in_family=len(teaching) - len(pool),
        solved=by_band.solved,
        too_hard=by_band.too_hard,
        unknown=by_band.unknown,
        sentences=[
            *_left_out(len(offered) - len(unique), len(teaching) - len(pool)),
            *_banded(by_band, recipe.difficulty),
            *sentences,
        ],
    )


def check(recipe: Recipe) -> None:
    """Bounds are declared on the fields; a Recipe made in code has not been through a decoder."""
    try:
        msgspec.convert(msgspec.to_builtins(recipe), type=Recipe)
    except msgspec.ValidationError as error:
        raise Invalid("recipe_invalid", f"This is not a recipe: {error}", "recipe") from error
    band = recipe.difficulty
    if band is not None and band.min > band.max:
        words = f"The band of difficulty ends at {_percent(band.max)}, below where it begins ({_percent(band.min)})."
        raise Invalid("band_empty", f"{words} Let min be at most max.", "difficulty")


def _rank(seed: int, name: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed}:{name}".encode())


def _first_of_each_prompt(offered: Sequence[Candidate]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for candidate in offered:
        first.setdefault(candidate.exact_key, candidate)
    return list(first.values())


@dataclass(frozen=True, slots=True)
class ByBand:
    """Tasks outside the band, and without a rate."""

    solved: int = 0
    too_hard: int = 0
    unknown: int = 0


def _within_band(pool: Sequence[Candidate], band: Band | None) -> tuple[list[Candidate], ByBand]:
    if band is None:
        return list(pool), ByBand()
    solved, too_hard, unknown, kept = 0, 0, 0, []
    for candidate in pool:
        if candidate.pass_rate is None:
            unknown += 1
            if band.unknown == "leave":
                continue
        elif candidate.pass_rate > band.max:
            solved += 1
            continue
        elif candidate.pass_rate < band.min:
            too_hard += 1
            continue
        kept.append(candidate)
    if pool and not kept:
        raise _outside(ByBand(solved, too_hard, unknown), band)
    return kept, ByBand(solved, too_hard, unknown)


def _outside(counts: ByBand, band: Band) -> Invalid:
    told = " ".join(_banded(counts, band))
    return Invalid(
        "mixture_empty", f"No task is within the recipe's band of difficulty. {told} Widen the band.", "difficulty"
    )


def _within_families(pool: Sequence[Candidate], recipe: Recipe) -> list[Candidate]:
    if not recipe.per_family:
        return list(pool)
    members: Counter[str] = Counter()
    kept = []
    for candidate in sorted(pool, key=lambda c: (_rank(recipe.seed, c.name), c.name)):
        family = candidate.family or candidate.exact_key
        members[family] += 1
        if members[family] <= recipe.per_family:
            kept.append(candidate)
    return kept


def _shares(pool: Sequence[Candidate], recipe: Recipe) -> tuple[dict[str, float], list[str]]:
    """Share of the mixture per weighted domain, and of REST; they add up to 1. Sentences on what was adjusted."""
    present = {candidate.domain for candidate in pool}
    if not present:
        raise Invalid("mixture_empty", "There is no approved task to mix; approve some or widen the recipe.", "recipe")
    total = sum(recipe.weights.values())
    scale = max(total, 1.0)
    shares = {domain: weight / scale for domain, weight in recipe.weights.items() if weight > 0 and domain in present}
    unnamed = present - set(recipe.weights)
    if unnamed and total < 1 - 1e-9:
        shares[REST] = 1 - total
    left = sum(shares.values())
    if left <= 0:
        raise Invalid("mixture_empty", "The recipe's weights keep every available domain out.", "weights")
    sentences = [
        f"Domain “{domain}” has no tasks; its weight went to the others in proportion."
        for domain in sorted(set(recipe.weights) - present)
        if recipe.weights[domain] > 0
    ]
    if unnamed and REST not in shares:
        names = ", ".join(f"“{name}”" for name in sorted(unnamed))
        sentences.append(f"The weights add up to 1 or more, so nothing is taken from {names}.")
    if not unnamed and total < 1 - 1e-9 and set(recipe.weights) <= present:
        sentences.append(f"The weights add up to {total:.3g} and no other domain has tasks; they were scaled to 1.")
    return {domain: share / left for domain, share in shares.items()}, sentences


def _ranked(pool: Sequence[Candidate], seed: int) -> list[Candidate]:
    """Shuffled within each domain, then spread so that any prefix holds the domains in proportion."""
    return [candidate for _, candidate in _spread(pool, seed)]


def _spread(pool: Sequence[Candidate], seed: int) -> list[tuple[float, Candidate]]:
    by_domain: dict[str, list[tuple[int, str, Candidate]]] = {}
    for candidate in pool:
        by_domain.setdefault(candidate.domain, []).append((_rank(seed, candidate.name), candidate.name, candidate))
    placed = []
    for members in by_domain.values():
        members.sort(key=lambda member: member[:2])
        placed += [((at + 0.5) / len(members), rank, name, c) for at, (rank, name, c) in enumerate(members)]
    placed.sort(key=lambda place: place[:3])
    return [(position, candidate) for position, _, _, candidate in placed]


def _cells(ranked: Sequence[Candidate], shares: Mapping[str, float]) -> dict[Cell, list[Candidate]]:
    cells: dict[Cell, list[Candidate]] = {}
    for candidate in ranked:
        cells.setdefault(_cell(candidate, shares), []).append(candidate)
    return cells


def _cell(candidate: Candidate, shares: Mapping[str, float]) -> Cell:
    return (candidate.domain if candidate.domain in shares else REST, candidate.contributor)


# How many of each cell


def _allocate(
    ranked: Sequence[Candidate],
    cells: Mapping[Cell, Sequence[Candidate]],
    shares: Mapping[str, float],
    recipe: Recipe,
    sentences: list[str],
) -> dict[Cell, int]:
    """Tasks to take from each cell. Whole numbers may miss what fractions allow by a few: then the size gives way."""
    supply = {cell: len(members) for cell, members in cells.items()}
    most = math.floor(_largest_size(supply, shares, recipe.cap_per_contributor) + 1e-6)
    size = min(recipe.size, most) if recipe.size else most
    taken: dict[Cell, int] = {}
    while size > 0:
        quotas = _whole(shares, size)
        limit = math.floor(recipe.cap_per_contributor * size + 1e-9)
        taken = _fill([_cell(candidate, shares) for candidate in ranked], supply, quotas, limit)
        if sum(taken.values()) == size:
            break
        size = sum(taken.values())
    if size == 0:
        raise _impossible(supply, shares, recipe)
    sentences += _what_bound(supply, taken, shares, recipe, size)
    return taken


def _largest_size(supply: Mapping[Cell, int], shares: Mapping[str, float], cap: float) -> float:
    """The largest T with Σ_contributor x = share · T per domain, Σ_domain x ≤ cap · T per contributor, x ≤ supply.

    A linear program in x and T; only its optimal value is used, which is unique where the solution may not be.
    """
    cells, domains = sorted(supply), sorted(shares)
    contributors = sorted({contributor for _, contributor in cells})
    size = len(cells)  # the last column is T
    equal = dok_array((len(domains), size + 1))
    capped = dok_array((len(contributors), size + 1))
    row_of_domain, row_of_contributor = _numbered(domains), _numbered(contributors)
    for column, (domain, contributor) in enumerate(cells):
        equal[row_of_domain[domain], column] = 1.0
        capped[row_of_contributor[contributor], column] = 1.0
    for domain in domains:
        equal[row_of_domain[domain], size] = -shares[domain]
    for contributor in contributors:
        capped[row_of_contributor[contributor], size] = -cap
    found = linprog(  # type: ignore[call-overload]  # the stubs do not know that sparse matrices are taken
        np.array([*([0.0] * size), -1.0]),
        A_ub=capped.tocsr(),
        b_ub=np.zeros(len(contributors)),
        A_eq=equal.tocsr(),
        b_eq=np.zeros(len(domains)),
        bounds=[*((0, supply[cell]) for cell in cells), (0, None)],
    )
    return float(-found.fun)


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _whole(shares: Mapping[str, float], size: int) -> dict[str, int]:
    """Largest remainders: whole numbers that add up to size and miss no share by one task or more."""
    exact = {domain: share * size for domain, share in shares.items()}
    whole = {domain: math.floor(value + 1e-9) for domain, value in exact.items()}
    by_remainder = sorted(exact, key=lambda domain: (whole[domain] - exact[domain], domain))
    for domain in by_remainder[: size - sum(whole.values())]:
        whole[domain] += 1
    return whole


def _fill(order: Sequence[Cell], supply: Mapping[Cell, int], quotas: Mapping[str, int], limit: int) -> dict[Cell, int]:
    """Take in ranked order while quota and limit last, then reroute what blocked the rest (augmenting paths)."""
    taken = dict.fromkeys(sorted(supply), 0)
    room_domain = dict(quotas)
    room_contributor = {contributor: limit for _, contributor in supply}
    for domain, contributor in order:
        if room_domain[domain] > 0 and room_contributor[contributor] > 0:
            taken[domain, contributor] += 1
            room_domain[domain] -= 1
            room_contributor[contributor] -= 1
    for domain in sorted(quotas):
        while room_domain[domain] > 0:
            path = _path(domain, supply, taken, room_contributor)
            if path is None:
                break
            steps = _steps(path, supply, taken, room_contributor)
            count = min(room_domain[domain], *steps)
            for at, cell in enumerate(path):
                taken[cell] += count if at % 2 == 0 else -count
            room_domain[domain] -= count
            room_contributor[path[-1][1]] -= count
    return taken


def _path(
    start: str, supply: Mapping[Cell, int], taken: Mapping[Cell, int], room: Mapping[str, int]
) -> list[Cell] | None:
    """Shortest chain of cells from a short domain to a contributor with room: take, give back, take, … , take."""
    frontier: list[tuple[str, list[Cell]]] = [(start, [])]
    seen_domains, seen_contributors = {start}, set[str]()
    for domain, path in frontier:
        for cell in sorted(cell for cell in supply if cell[0] == domain and taken[cell] < supply[cell]):
            contributor = cell[1]
            if contributor in seen_contributors:
                continue
            seen_contributors.add(contributor)
            if room[contributor] > 0:
                return [*path, cell]
            for other in sorted(c for c in supply if c[1] == contributor and taken[c] > 0 and c[0] not in seen_domains):
                seen_domains.add(other[0])
                frontier.append((other[0], [*path, cell, other]))
    return None


def _steps(
    path: Sequence[Cell], supply: Mapping[Cell, int], taken: Mapping[Cell, int], room: Mapping[str, int]
) -> list[int]:
    along = [supply[cell] - taken[cell] if at % 2 == 0 else taken[cell] for at, cell in enumerate(path)]
    return [*along, room[path[-1][1]]]


# What is told


def _impossible(supply: Mapping[Cell, int], shares: Mapping[str, float], recipe: Recipe) -> Invalid:
    cap = recipe.cap_per_contributor
    contributors = {contributor for _, contributor in supply}
    if cap * len(contributors) < 1 - 1e-9:
        need = math.ceil(1 / cap - 1e-9)
        words = f"A cap of {_percent(cap)} needs {need} contributors and there are {len(contributors)}."
        return Invalid("cap_impossible", f"{words} Raise the cap or wait for more contributors.", "cap_per_contributor")
    for domain in sorted(shares):
        providers = len({contributor for where, contributor in supply if where == domain})
        if shares[domain] > cap * providers + 1e-9 and domain != REST:
            words = (
                f"Domain “{domain}” is to be {_percent(shares[domain])} of the mixture, and the cap allows "
                f"its {providers} contributors {_percent(cap * providers)}."
            )
            return Invalid("cap_impossible", f"{words} Raise the cap or lower that weight.", "cap_per_contributor")
    words = f"No size keeps these weights and a cap of {_percent(cap)} with the tasks there are."
    return Invalid("cap_impossible", f"{words} Raise the cap or change the weights.", "cap_per_contributor")


def _what_bound(
    supply: Mapping[Cell, int], taken: Mapping[Cell, int], shares: Mapping[str, float], recipe: Recipe, size: int
) -> list[str]:
    sentences = []
    if recipe.size > size:
        sentences.append(
            f"Asked for {recipe.size:,} tasks; weights and cap allow {size:,} of {sum(supply.values()):,}."
        )
    limit = math.floor(recipe.cap_per_contributor * size + 1e-9)
    for contributor, (available, used) in _sums(supply, taken, 1).items():
        if recipe.cap_per_contributor < 1 and used == limit < available:
            cap = _percent(recipe.cap_per_contributor)
            sentences.append(f"The cap of {cap} holds {contributor} to {used:,} of {available:,} tasks.")
    for domain, (available, used) in _sums(supply, taken, 0).items():
        if domain != REST and used == available and size < sum(supply.values()):
            sentences.append(
                f"Domain “{domain}” is used up: its {used:,} tasks at {_percent(shares[domain])} set the size."
            )
    return sentences


def _sums(supply: Mapping[Cell, int], taken: Mapping[Cell, int], part: int) -> dict[str, tuple[int, int]]:
    available: Counter[str] = Counter()
    used: Counter[str] = Counter()
    for cell, count in supply.items():
        available[cell[part]] += count
        used[cell[part]] += taken[cell]
    return {name: (available[name], used[name]) for name in sorted(available)}


def _left_out(repeated: int, in_family: int) -> list[str]:
    told = [
        (repeated, "left out: another task has the same prompt."),
        (in_family, "left out: enough near-duplicates of them are in."),
    ]
    return [f"{count:,} {'task' if count == 1 else 'tasks'} {words}" for count, words in told if count]


def _banded(counts: ByBand, band: Band | None) -> list[str]:
    if band is None:
        return []
    missing = "kept: measure them first" if band.unknown == "keep" else "left out: measure them first"
    told = [
        (counts.solved, f"left out as solved: the champion passes more than {_percent(band.max)}."),
        (counts.too_hard, f"left out as too hard: the champion passes less than {_percent(band.min)}."),
        (counts.unknown, f"without a pass rate of the champion, {missing}."),
    ]
    return [f"{count:,} {'task' if count == 1 else 'tasks'} {words}" for count, words in told if count]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _counts(available: Iterable[str], used: Iterable[str]) -> list[Count]:
    before, after = Counter(available), Counter(used)
    total = max(after.total(), 1)
    return [Count(name, before[name], after[name], after[name] / total) for name in sorted(before)]


def digest_of(recipe: Recipe, datasets: Sequence[str], order: Sequence[str]) -> str:
    """SHA-256 over recipe, dataset digests and the ordered tasks' names, as canonical JSON.

    A recipe without a band counts as it did before there were any: what it makes keeps its digest.
    """
    asked = msgspec.to_builtins(recipe)
    if asked["difficulty"] is None:
        del asked["difficulty"]
    return hashlib.sha256(msgspec.json.encode([asked, datasets, order], order="sorted")).hexdigest()
