"""What was measured as a section of docs/results-denoise.md, between two markers, and its plot beside it."""

from pathlib import Path

from bench.denoise import plot, report
from bench.denoise.compare import deltas
from bench.denoise.known import Known
from bench.pages import put, slug, table

PAGE = "results-denoise.md"


def write(folder: Path, known: Known) -> None:
    """Write or replace the section of each set of pictures, and draw its plot."""
    page = folder / PAGE
    for name, files in known.images.items():
        some = of(known, name)
        picture = f"results-denoise-{slug(name)}.png"
        plot.draw(some.rows, some.alone, some.ours, folder / picture)
        put(page, slug(name), section(f"{name}, {len(files)} pictures", some, picture))


def of(known: Known, name: str) -> Known:
    """What is known of one set of pictures."""
    return Known(
        {name: known.images[name]},
        known.ours,
        known.digest,
        {where: command for where, command in known.measured_by.items() if where.startswith(f"{name}, ")},
        [row for row in known.rows if row.pictures == name],
        [row for row in known.alone if row.pictures == name],
        [row for row in known.evidence if row.pictures == name],
    )


def section(title: str, known: Known, picture: str) -> str:
    """Markdown. The first column, the set of pictures, is in the title."""
    commands = dict.fromkeys(known.measured_by.values())
    parts = [
        f"## {title}",
        "\n".join(f"`{one}`" for one in commands),
        f"![PSNR to the clean pictures over bits per pixel]({picture})",
    ]
    for shown in report.tables(known.rows, deltas(known.rows, known.ours), known.alone, known.evidence):
        parts += [f"**{shown.title}**", table(shown.heads[1:], [line[1:] for line in shown.lines])]
    return "\n\n".join(parts) + "\n"
