"""`lorid convert`: PEFT LoRA folders to GGUF LoRA files."""

from pathlib import Path

import click

from lorid_local.commands.options import option
from lorid_local.engine import Role

OUTTYPES = ("auto", "f32", "f16", "bf16", "q8_0")  # as in lorid_convert.pipeline, which is slow
VERIFY = ("auto", "off", "on", "full")


@click.command(short_help="Turn a PEFT LoRA folder into a GGUF LoRA file.")
@click.argument("given", metavar="[PEFT_DIR]", default="")
@option("--base", type=click.Path(path_type=Path),
        help="The model it will run on: a .gguf file, or a name of `lorid models`.")  # fmt: skip
@option("--outfile", type=click.Path(path_type=Path),
        help="GGUF file to write [default: PEFT_DIR.gguf]; with --all, the folder.")  # fmt: skip
@option("--outtype", type=click.Choice(OUTTYPES), default="auto", show_default=True,
        help="Number type; auto: q8_0, or f16 for rows not a multiple of 32.")  # fmt: skip
@option("--adapter", default="", help="The adapter to take where PEFT_DIR holds several.")
@option("--all", "all_roles", is_flag=True, help="Convert the three roles' adapters of a set.")
@option("--role", type=click.Choice([r.value for r in Role]), help="Role to note.")
@option("--prompt", default="", help="Prompt profile to note.")
@option("--licence", default="", help="Licence to note [default: as the README.md there says].")
@option("--hash-base/--no-hash-base", default=None,
        help="Note the base's SHA-256 [default: up to 1 GiB].")  # fmt: skip
@option("--verify", type=click.Choice(VERIFY), is_flag=False, flag_value="on", default="auto",
        help="Compare the products with PEFT's; on (auto: up to 2 GiB of base): run it in "
        "llama.cpp too; full: compare the logits with PEFT's.", show_default=True)  # fmt: skip
@option("--dry-run", is_flag=True, help="Check everything and list the tensors; write nothing.")
@option("--inspect", type=click.Path(path_type=Path), help="Say what a GGUF adapter is.")
@click.help_option("-h", "--help")
def command(
    role: str | None, prompt: str, licence: str, hash_base: bool | None, **flags: object
) -> None:
    """Turn the PEFT LoRA in PEFT_DIR into a GGUF LoRA for llama.cpp.

    \b
    lorid convert runs/ir/adapter --base BASE.gguf --outfile ir.gguf --role ir
    lorid convert runs/ir/adapter --base BASE.gguf --dry-run
    lorid convert SET --all --base BASE.gguf --outfile adapters
    lorid convert LoRID-Math/GSM8K-Mistral-7B-IR --base BASE.gguf
    lorid convert --inspect ir.gguf

    PEFT_DIR may be a repository that lies in the Hugging Face cache. Needs no torch, but for
    adapter_model.bin and --verify=full. What a GGUF LoRA cannot express is refused before
    anything is written. The path of the file is printed on stdout.
    """
    from lorid_convert.notes import Notes
    from lorid_local import converting

    said = Notes(role or "", prompt, licence, hash_base)
    converting.run(converting.Flags(said=said, **flags))  # type: ignore[arg-type]
