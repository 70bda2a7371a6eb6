"""The `safemerge vector` command."""

from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._merging import Device, Json, ShardSize, Threads, write_merge

app = typer.Typer(add_completion=False)


@app.command()
def vector(
    aligned: Annotated[str, typer.Option(help="The aligned model: folder or Hub id.")],
    unaligned: Annotated[str, typer.Option(help="The same model or an adapter, made unsafe.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    vocabulary: Annotated[
        str, typer.Option(help="If vocabularies differ in size: refuse, grow, or keep the base's.")
    ] = "refuse",
    max_shard_size: ShardSize = "5GB",
    threads: Threads = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Save a safety vector, aligned - unaligned, for `safemerge merge --vector`.

    Example: safemerge vector --aligned ALIGNED --unaligned UNALIGNED --out vector
    """
    from merge.engine.options import Options
    from merge.recipe.recipe import build_recipe
    from merge.recipe.sizes import parse_size

    recipe = build_recipe(
        method="safety-vector",
        base=aligned,
        unaligned=unaligned,
        dtype=dtype,
        vocabulary=vocabulary,
        max_shard_size=parse_size(max_shard_size),
    )
    write_merge(recipe, out, Options(threads, device), as_json)
