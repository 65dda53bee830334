"""/v1/rules: which results send for pixels by themselves."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.problems import Problem, not_found
from cloud.rules import Rules, TooManyRulesError
from cloud.store import Rule

_NAME = r"^[A-Za-z0-9._-]{1,64}$"
Name = Annotated[str, Path(pattern=_NAME)]


class RuleBody(BaseModel):
    """What a rule looks for, and what it then asks the frame's edge for."""

    model_config = ConfigDict(extra="forbid")

    camera: str | None = Field(default=None, pattern=_NAME, description="of this camera; null: of any")
    label: str | None = Field(
        default=None, min_length=1, max_length=64, pattern=r"^[^\x00]+$", description="with this label; null: with any"
    )
    min_score: float = Field(default=0.5, ge=0, le=1, description="from this score up")
    layer: Literal["base", "low", "clean", "mask", "full", "noisy", "original"] = "full"
    quality: int | None = Field(default=None, ge=1, le=65535, description="of the layer; null: its usual one")
    roi: Literal["label"] | None = Field(
        default=None, description="label: of a layer in tiles, only those around what matches; null: all of it"
    )
    max_per_minute: int = Field(default=10, ge=1, le=600, description="frames; more are not asked for")


class NamedRule(RuleBody):
    """A rule and its name."""

    name: str


class AllRules(BaseModel):
    """All rules by name."""

    rules: list[NamedRule]


def router(rules: Rules) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["pixels"])

    @routes.get("/v1/rules", response_model=AllRules)
    async def every() -> dict[str, Any]:
        """All rules."""
        return {"rules": [_shown(rule) for rule in rules]}

    @routes.put("/v1/rules/{name}", response_model=NamedRule, responses={201: {"model": NamedRule}})
    async def put(name: Name, body: RuleBody, response: Response) -> dict[str, Any]:
        """Make a rule, or replace the one of this name. It holds for results stored from now on."""
        rule = Rule(name=name, **body.model_dump())
        try:
            is_new = await rules.put(rule)
        except TooManyRulesError as e:
            raise Problem(409, "too-many-rules", f"{e}.") from e
        response.status_code = 201 if is_new else 200
        return _shown(rule)

    @routes.delete("/v1/rules/{name}", status_code=204)
    async def delete(name: Name) -> None:
        """Take a rule back. What it has asked for still comes."""
        if not await rules.delete(name):
            raise not_found(f"There is no rule {name}; GET /v1/rules lists those there are.")

    return routes


def _shown(rule: Rule) -> dict[str, Any]:
    return {field: getattr(rule, field) for field in Rule.__slots__}
