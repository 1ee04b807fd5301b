"""`lorid tutor`: practice with hints, or help with the pupil's own problem."""

import click

from lorid_local.commands.options import option


@click.command(short_help="Practise with hints, or be helped with a problem of your own.")
@click.argument("problem", required=False)
@option("--level", type=int, help="Start at this level, a school grade.")
@option("--topic", help="Only this topic, as `lorid practice list` names them.")
@option("-s", "--seed", type=int, help="The same problems again [default: new ones].")
@option("--plain", is_flag=True, help="No colours, nothing redrawn: for screen readers.")
@option("--bundle", help="The bundle for a PROBLEM of your own.")
@option("-t", "--threads", type=int, help="Its threads [default: the cores there are].")
@option("--progress", is_flag=True, help="Show how the practice went, by topic and week.")
@option("--forget", is_flag=True, help="Erase all progress.")
@click.help_option("-h", "--help")
def command(**flags: object) -> int:
    """Practise word problems with a tutor that helps and does not give the answer away.

    \b
    lorid tutor                          practice problems; their answers are computed
    lorid tutor --topic pizza --level 3
    lorid tutor "Sam has 3 boxes of 12 eggs. How many eggs does he have?"
    lorid tutor --progress

    With a PROBLEM of your own a small model works on it meanwhile, and it is often wrong: the
    tutor then says how often. Without one no model is loaded. How you did is kept on this
    machine only, no word that you type is. A session that was cut off goes on where it was.
    """
    from lorid_local.tutor.running import Flags, run

    return run(Flags(**flags))  # type: ignore[arg-type]  # the flags' own names and types
