"""The start of a run: a form for its recipe, the YAML beside it, the dry run's numbers."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from danlu.config import load_recipe, recipe_summary, recipe_text, shipped_recipes
from danlu.errors import DanluError
from danlu.studio.forms import Form, read_form
from danlu.studio.recipe_form import FIRST, Checked, check, sections, values_of, values_of_yaml
from danlu.studio.rendering import page
from danlu.studio.shared import shared
from danlu.studio.workspace import Workspace

router = APIRouter(prefix="/new")
RECIPE = "recipe.yaml"


@router.get("")
def new(request: Request) -> Response:
    """Show the form, filled from a shipped recipe or from another run."""
    recipes = {name: recipe_summary(path) for name, path in shipped_recipes().items()}
    begun = request.query_params.get("from", "sft-lora")
    workspace = shared(request).workspace
    if begun in recipes:
        values = values_of(load_recipe(begun))
    else:
        values = values_of(load_recipe(workspace.run(begun).recipe_path))
    values["name"] = _free_name(values.get("name", "run"), workspace)
    return _form(request, "runs/new.html", values, recipes=recipes, begun=begun)


@router.post("/yaml")
async def from_yaml(request: Request) -> Response:
    """Fill the form from YAML that was written by hand."""
    form = await read_form(request)
    return _form(request, "runs/new_form.html", values_of_yaml(form["yaml"]))


@router.post("/check")
async def checked(request: Request) -> Response:
    """Show the YAML of a filled form, and what is wrong with it."""
    form = await read_form(request)
    found = check(_values(form), shared(request).workspace)
    return page(request, "runs/new_checked.html", checked=found, job=None, plan=None)


@router.post("/plan")
async def plan(request: Request) -> Response:
    """Begin a dry run."""
    form = await read_form(request)
    found = check(_values(form), shared(request).workspace)
    if found.recipe is None:
        return page(request, "runs/new_plan.html", job=None, plan=None, checked=found)
    job = shared(request).jobs.start(
        "plan",
        lambda folder: ["train", f"{folder}/{RECIPE}", "--dry-run", "--json"],
        given={RECIPE: recipe_text(found.recipe)},
    )
    return page(request, "runs/new_plan.html", job=job, plan=None, checked=found)


@router.get("/plan/{name}")
def planned(request: Request, name: str) -> Response:
    """Show how far a dry run is, or what it says."""
    job = shared(request).jobs.get(name)
    found: dict[str, Any] | None = None
    if job.state == "done":
        found = json.loads(job.file("stdout.txt"))
    return page(request, "runs/new_plan.html", job=job, plan=found, checked=None)


@router.post("/start")
async def start(request: Request) -> Response:
    """Start to train."""
    form = await read_form(request)
    own = shared(request)
    found = check(_values(form), own.workspace)
    if found.recipe is None:
        raise DanluError("\n".join(f"{path}: {text}" for path, text in found.problems))
    recipe = found.recipe
    run = f"{recipe.runs_dir.strip('/')}/{recipe.name}"
    again = ["--overwrite"] if form.get("overwrite") else []
    job = own.jobs.start(
        "train",
        lambda folder: ["train", f"{folder}/{RECIPE}", *again],
        run=run,
        given={RECIPE: recipe_text(recipe)},
    )
    return PlainTextResponse("", headers={"hx-redirect": f"/jobs/{job.job.id}"})


def _form(request: Request, template: str, values: dict[str, str], **more: Any) -> Response:
    found: Checked = check(values, shared(request).workspace)
    by_section = sections()
    by_path = {field.path: field for fields in by_section.values() for field in fields}
    rest = {
        name: [field for field in fields if field.path not in FIRST]
        for name, fields in by_section.items()
    }
    return page(
        request,
        template,
        values=values,
        first=[by_path[path] for path in FIRST],
        sections=rest,
        checked=found,
        job=None,
        plan=None,
        **more,
    )


def _values(form: Form) -> dict[str, str]:
    prefix = "s."
    names = [name for name in form.names() if name.startswith(prefix)]
    return {name.removeprefix(prefix): form[name] for name in names}


def _free_name(name: str, workspace: Workspace) -> str:
    folder = next(iter(workspace.folders))
    free, number = name, 2
    while workspace.has_run(f"{folder}/{free}"):
        free, number = f"{name}-{number}", number + 1
    return free
