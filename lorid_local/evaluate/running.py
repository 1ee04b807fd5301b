"""`lorid eval` from flags to exit code: draws what is missing, replays, shows, calibrates."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lorid_local import bundle as bundles
from lorid_local import serving, solving
from lorid_local.base import sha256
from lorid_local.engine import Role
from lorid_local.errors import EXIT_INTERRUPTED, InputError, OutputError
from lorid_local.evaluate import (
    cases,
    findings,
    joining,
    methods,
    places,
    report,
    sampled,
    sampling,
    store,
    summary,
    writing,
)
from lorid_local.evaluate.methods import Method, Needs
from lorid_local.evaluate.policy import Draw
from lorid_local.evaluate.progress import progress
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.store import Contents, Writer
from lorid_local.models.shelf import located

CALLS_DEEP = 4  # a server's call has so many times the requests that may be in flight


@dataclass(frozen=True)
class Asked:
    """The command line. `solve` are the flags of a solve; None means: as the bundle says.

    `data` is one place of problems, or files of samples.
    """

    data: tuple[str, ...]
    output: Path | None = None
    methods: str | None = None
    choice: cases.Choice = field(default_factory=cases.Choice)
    solved: Path | None = None
    report: Path | None = None
    as_json: bool = False
    quiet: bool = False
    name: str | None = None
    calibrate: str | None = None
    policy: bool = False
    also: tuple[Path, ...] = ()
    solve: solving.Flags = field(default_factory=solving.Flags)


@dataclass(frozen=True)
class _Run:
    """What is settled before anything is drawn."""

    chosen: bundles.Bundle
    setup: solving.Setup
    methods: list[Method]

    @property
    def needs(self) -> Needs:
        needs = Needs()
        for method in self.methods:
            needs |= method.needs
        return needs


def asked(flags: dict[str, Any]) -> Asked:
    """Return the command line's flags, by name, as what they are for."""
    own = {name: flags[name] for name in _names(Asked) if name in flags}
    choice = {name: flags[name] for name in _names(cases.Choice) if name in flags}
    solve = {n: flags[n] for n in _names(solving.Flags) if n in flags and n not in own}
    return Asked(**own, choice=cases.Choice(**choice), solve=solving.Flags(**solve))


def _names(cls: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(cls)}


def run(asked: Asked) -> int:
    """Do what is asked for; return the exit code. Raises LoridError."""
    asked = replace(asked, solve=replace(asked.solve, model=located(asked.solve.model)))
    check(asked)
    chosen = bundles.find(asked.calibrate or asked.solve.bundle or bundles.DEFAULT)
    setup = solving.settle(chosen.contents, asked.solve)
    default = methods.SETTLED if asked.solved else methods.DEFAULT
    names = asked.methods.split(",") if asked.methods else default
    this = _Run(chosen, setup, methods.parse([n.strip() for n in names], setup.loop.rounds))
    if paths := _samples(asked):
        contents, wanted, interrupted = joining.join(paths), 0, False
    else:
        todo = cases.load(asked.data[0], asked.choice)
        _check_taught(this.methods, todo)
        wanted = len(todo)
        if asked.solved:
            contents, interrupted = store.from_traces(asked.solved, todo), False
        else:
            contents, interrupted = _drawn(asked, this, todo)
    contents.data = asked.name or contents.data
    problems = sampled.gather(contents)
    if not asked.methods:  # of the default ones, those that there are samples for
        playable = [m for m in this.methods if any(map(m.playable, problems))]
        this = replace(this, methods=playable or this.methods)
    if interrupted and not any(_suffices(p, this.methods) for p in problems):
        print("No problem is complete yet. The same command goes on.", file=sys.stderr)
    else:
        _show(asked, this, contents, problems, wanted or len(contents.cases))
    return EXIT_INTERRUPTED if interrupted else 0


def _check_taught(wanted: Sequence[Method], todo: Sequence[cases.Case]) -> None:
    """Raise InputError where DR's rules are to be a teacher's and no problem has any."""
    if any(m.kind == methods.TAUGHT for m in wanted) and not any(case.rules for case in todo):
        raise InputError(
            f"{methods.TAUGHT}: no problem has a teacher's rules",
            hint='--rules-file FILE.jsonl of {"id": 0-based line of DATA, "knowledge": [rules]}',
        )


def _suffices(problem: Sampled, wanted: Sequence[Method]) -> bool:
    return all(method.playable(problem) for method in wanted)


def _samples(asked: Asked) -> list[Path]:
    """Return the files of samples that were given, none if it is problems.

    Raises InputError for both at once, and for flags that say what to draw.
    """
    paths = [Path(data) for data in asked.data]
    if others := [path for path in paths if not store.is_samples(path)]:
        if len(paths) > 1:
            raise InputError(
                f"{others[0]} is no file of samples, and several DATA were given",
                hint="lorid eval DATA -o A.jsonl draws; lorid eval A.jsonl B.jsonl reads both",
            )
        return []
    drawing: dict[str, Any] = {"--count": asked.choice.count, "--skip": asked.choice.skip}
    drawing |= {"--lines": asked.choice.lines, "--rules-file": asked.choice.rules}
    drawing |= {"--solved": asked.solved, "-o/--output": asked.output}
    if given := [name for name, value in drawing.items() if value]:
        raise InputError(
            f"{given[0]} was given with {paths[0]}, whose samples are drawn",
            hint="give the data that they were drawn for, or leave the flag out",
        )
    return paths


def check(asked: Asked) -> None:
    """Raise InputError for flags that contradict each other or are out of range."""
    solving.check(asked.solve)
    if asked.calibrate and asked.solve.bundle:
        raise InputError(
            "--calibrate and --bundle were both given", hint="--calibrate BUNDLE measures it too"
        )
    if asked.report and (store.is_samples(asked.report) or str(asked.report) in asked.data):
        raise InputError(
            f"--report {asked.report}: the file holds what is measured and would be replaced",
            hint="give --report another file",
        )
    if asked.policy and not asked.calibrate:
        raise InputError("--policy was given without --calibrate", hint="--calibrate BUNDLE")
    if asked.calibrate and asked.solve.endpoint:
        raise InputError(
            "--calibrate was given with --endpoint, whose base and adapters are not known here",
            hint="let lorid eval draw the samples on this machine",
        )
    if asked.calibrate and asked.solved:
        raise InputError(
            "--calibrate was given with --solved: what lorid solve wrote does not say by which "
            "adapters",
            hint="let lorid eval draw the samples",
        )


def settings_of(
    chosen: bundles.Bundle, setup: solving.Setup, flags: solving.Flags
) -> dict[str, Any]:
    """Return all that the samples depend on, by name; a file of samples begins with it."""
    found = {"bundle": chosen.contents.name, "seed": setup.seed, **_engine_settings(chosen, flags)}
    for role in Role:
        values = dataclasses.asdict(setup.roles.of(role))
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        found |= {f"{role}.{key}": v for key, v in values.items() if key != "adapter"}
    return found


def _engine_settings(chosen: bundles.Bundle, flags: solving.Flags) -> dict[str, Any]:
    if flags.endpoint:  # what the server has loaded is not known here
        return {"endpoint": flags.endpoint, "server_models": flags.server_models}
    base = sha256(flags.model) if flags.model else chosen.contents.base.sha256
    return {
        "base": base or sha256(chosen.base()),
        "base_type": solving.base_type(chosen.contents, flags),
        "kv_type": flags.kv_type,
    }


def _drawn(asked: Asked, this: _Run, todo: Sequence[cases.Case]) -> tuple[Contents, bool]:
    """Draw what is missing; return the samples and whether it was interrupted."""
    settings = settings_of(this.chosen, this.setup, asked.solve)
    path = asked.output or places.default(
        asked.data[0], settings, todo[0].question, asked.choice.lines
    )
    data = asked.name or Path(asked.data[0]).name
    with store.writer(path, data, settings, todo) as writer, ExitStack() as stack:
        at_once = _at_once(asked.solve)
        lacking = sampling.pending(len(todo), this.needs, writer.contents, at_once)
        if not lacking:
            return writer.contents, False
        interrupted = stack.enter_context(solving.interruptible())
        print(f"Samples: {path}", file=sys.stderr, flush=True)
        engine = stack.enter_context(solving.engine_for(this.chosen, this.setup, asked.solve))
        setup = solving.asked(this.setup, this.chosen, asked.solve, engine)
        with progress(len(todo) - lacking, len(todo), quiet=asked.quiet) as told:
            on_group = _accuracy(this.methods[0], writer, told)
            sampling.draw(engine, todo, this.needs, setup.roles, writer, seed=setup.seed,
                          cancelled=interrupted, on_group=on_group, at_once=at_once)  # fmt: skip
        return writer.contents, interrupted()


def _at_once(flags: solving.Flags) -> int:
    """Samples of a call: a server stays busy only if many are in flight while some end."""
    if not flags.endpoint:
        return sampling.AT_ONCE
    return CALLS_DEEP * (flags.in_flight or serving.IN_FLIGHT)


def _accuracy(
    subject: Method, writer: Writer, told: Callable[[int, str], None]
) -> sampling.OnGroup:
    """Return what tells the accuracy so far of a method when a group of problems is complete."""
    right = total = 0

    def on_group(group: range) -> None:
        nonlocal right, total
        played = [subject.play(sampled.one(writer.contents, n)) for n in group]
        right, total = right + sum(p.right for p in played), total + len(played)
        told(len(group), f"{subject.name} right in {right} of {total}")

    return on_group


def _show(
    asked: Asked, this: _Run, contents: Contents, problems: Sequence[Sampled], wanted: int
) -> None:
    """Replay, print, and write the report and the bundle that were asked for."""
    if contents.stops:
        _check_settled(problems, this.methods, contents.stops)
    replayed = findings.replay(problems, this.methods)
    if not replayed.problems:
        raise InputError(
            _too_few(problems, this.methods),
            hint="name other --methods, a smaller @t, or draw more: lorid eval DATA -r ROUNDS",
        )
    loop, others = this.setup.loop, _others(asked, contents)
    found = findings.figures(
        contents, replayed, wanted=wanted, rounds=loop.rounds, protocol=loop.protocol, others=others
    )
    try:
        if asked.as_json:
            print(json.dumps(found))
        else:
            summary.show(found)
        sys.stdout.flush()
    finally:  # nobody may be there who reads it
        if asked.report:
            _write(asked.report, report.html(found, replayed))
            print(f"Report: {asked.report}", file=sys.stderr)
    if asked.calibrate:
        own = settings_of(this.chosen, this.setup, replace(asked.solve, model=None))
        draws = [Draw(problems), *others]
        print(writing.calibrate(this.chosen, own, contents, found, draws, policy=asked.policy),
              file=sys.stderr)  # fmt: skip


def _others(asked: Asked, contents: Contents) -> list[Draw]:
    """Return the same problems at other temperatures; raises InputError if a round is missing."""
    found = []
    for at, part in joining.beside(asked.also, contents).items():
        problems = sampled.gather(part)
        if any(not p.whole for p in problems):
            raise InputError(
                f"the samples at {at} lack a whole round of some problems",
                hint="let lorid eval draw the rest of them first",
            )
        found.append(Draw(problems, at, part.settings))
    return found


def _check_settled(
    problems: Sequence[Sampled], wanted: Sequence[Method], stops: store.Stops
) -> None:
    """Raise InputError for a method that only the problems without agreement have samples for."""
    for method in wanted:
        if not all(method.playable(p) for p in problems):
            raise InputError(
                f"{method.name} needs samples that lorid solve did not draw: it stopped at "
                f"agreement ({stops.protocol}) or after {stops.rounds} rounds",
                hint=f"--methods ir,dr,{stops.protocol.replace('same-round', 'lorid')}"
                f"@{stops.rounds}, or let lorid eval draw the samples",
            )


def _too_few(problems: Sequence[Sampled], wanted: Sequence[Method]) -> str:
    for method in wanted:
        if not any(method.playable(p) for p in problems):
            return f"no problem has the samples that {method.name} needs"
    return "no problem has the samples that all methods need"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path}: the report cannot be written ({error.strerror})",
            hint="give --report a file in a folder that you may write to",
        ) from None
