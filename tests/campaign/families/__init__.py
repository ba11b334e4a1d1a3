"""The families of cases, and all of them in a row."""

from functools import cache

from tests.campaign.cases import Case, Family, Plan
from tests.campaign.families import (
    edited,
    ids,
    images,
    knobs,
    layouts,
    models,
    options,
    shards,
    strangers,
    tables,
)

FAMILIES: dict[str, Family] = {
    "options": options.cases,
    "knobs": knobs.cases,
    "images": images.cases,
    "layouts": layouts.cases,
    "tables": tables.cases,
    "ids": ids.cases,
    "edited": edited.cases,
    "models": models.cases,
    "strangers": strangers.cases,
    "shards": shards.cases,
}


@cache
def enumerated(plan: Plan) -> list[Case]:
    """All cases of a plan, always the same ones in the same order; each name begins with its family."""
    found: list[Case] = []
    for family, cases in FAMILIES.items():
        for case in plan.some(family, cases(plan)):
            found.append(Case(f"{family}/{case.name}", case.make, case.expect, case.check, case.outs))
    return found
