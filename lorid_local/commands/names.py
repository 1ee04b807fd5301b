"""The subcommands' names, so that help needs none of their modules."""

# name -> one line for `lorid --help`; the command itself is `command` in the module of that name
COMMANDS = {
    "solve": "Solve math word problems.",
    "tutor": "Practise with hints, or be helped with a problem of your own.",
    "models": "Pull, import and list other models.",
    "practice": "Practice problems with computed answers.",
    "convert": "Convert a PEFT LoRA folder to a GGUF LoRA file.",
    "export-peft": "Turn a GGUF LoRA file back into a PEFT folder.",
    "average": "Average several GGUF LoRA files of one base into one.",
    "bundle": "Make a bundle of a base, three adapters and prompts.",
    "teach": "Have a teacher model write rules; audit them.",
    "data": "Build, show and check training data.",
    "train": "Train one role's LoRA adapter from a recipe.",
    "rft": "Sample chains; the right ones become training rows.",
    "eval": "Measure a bundle: methods compared, calibration, a report.",
    "doctor": "Check that this machine can solve, and what memory it takes.",
    "bench": "Measure how fast this machine solves.",
    "paths": "Show where lorid's files are.",
    "completion": "Print a script for shell completion.",
}
