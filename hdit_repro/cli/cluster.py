"""`cluster`: the profiles, and whether one fits its site."""

from __future__ import annotations

from typing import Annotated

import typer

from hdit_repro.cli import options
from hdit_repro.cli.output import as_json, data, group, left_out, remark, table
from hdit_repro.errors import RunError, UserError

app = group()
clusters = group()
app.add_typer(clusters, name="cluster")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A profile of jobs/clusters/.")]


@clusters.callback()
def root() -> None:
    """List the profiles of clusters, or check that one fits its site.

    Example: hdit-repro cluster check a100
    """


@clusters.command("list")
def list_clusters(as_objects: options.Json = False) -> None:
    """List the profiles of clusters, those of this folder first; of one that is not understood it says why.

    Example: hdit-repro cluster list
    """
    from hdit_repro.launch.clusters import Slurm, clusters, read_cluster
    from hdit_repro.spec.base import kind_of

    rows: list[dict[str, str]] = []
    refused: list[UserError] = []
    for name, path in clusters().items():
        try:
            profile = read_cluster(name)
        except UserError as error:
            refused.append(error)
            continue
        where = "this machine"
        if isinstance(profile, Slurm):
            where = f"{profile.gpus_per_node} {profile.gpu} a node, partition {profile.partition}"
        rows.append({"name": name, "kind": kind_of(profile), "where": where, "file": str(path)})
    if as_objects:
        as_json(rows)
    else:
        table(("name", "kind", "where", "file"), [tuple(row.values()) for row in rows], spare=("kind",))
    left_out(refused)


@clusters.command("check")
def check(
    name: Name,
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", min=1, help="On so many nodes.")] = 1,
    patience: Annotated[float, typer.Option("--patience", metavar="SECONDS", help="Wait so long.")] = 600.0,
    as_objects: options.Json = False,
) -> None:
    """Hold a profile against its site and submit a job of a minute that tells what the nodes see.

    Example: hdit-repro cluster check a100
    """
    from hdit_repro.cli.slurm import say_busy
    from hdit_repro.launch.clusters import Slurm, read_cluster, workplace
    from hdit_repro.launch.slurm.check import check as act
    from hdit_repro.launch.slurm.check import refuse_local

    profile = read_cluster(name)
    if not isinstance(profile, Slurm):
        raise refuse_local(name)
    remark(f"submitting a job to partition {profile.partition}")
    checked = act(profile, workplace(cluster=profile), nodes, patience, say_busy)
    if as_objects:
        as_json({"nodes": checked.nodes, "wrong": checked.wrong})
    else:
        for node in checked.nodes:
            for key, value in node.items():
                text = ", ".join(map(str, value)) if isinstance(value, list) else value
                data(f"{node['node'] or node['host']:<12} {key:<20} {text}")
    if checked.wrong:
        raise RunError(
            f"{name} is not ready",
            found="\n".join(checked.wrong),
            expected="nodes that see what a run needs",
            fix=f"mend jobs/clusters/{name}.toml or the site, then: hdit-repro cluster check {name}",
        )
    remark(f"{name} is ready")
