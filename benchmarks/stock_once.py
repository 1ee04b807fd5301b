"""One problem at t = 1 the way it is done without lorid: three `Llama` objects, one a role.

Prints the three texts. Used by solve_vs_stock.py; its arguments are the problem and the threads.
"""

import sys

from llama_cpp import Llama

from lorid_local import bundle as bundles
from lorid_local import prompts
from lorid_local.engine import Role


def main() -> None:
    """Generate IR, KG and DR greedily with the default bundle's files and prompts."""
    chosen = bundles.find()
    adapters, base = chosen.adapters(), chosen.contents.base.locate()
    models = {
        role: Llama(
            str(base),
            lora_path=str(adapters[role]),
            n_ctx=1024,
            n_threads=int(sys.argv[2]),
            n_threads_batch=int(sys.argv[2]),
            verbose=False,
        )
        for role in Role
    }
    question = prompts.tidy(sys.argv[1])
    rules: tuple[str, ...] = ()
    for role in (Role.IR, Role.KG, Role.DR):
        settings = chosen.contents.roles.of(role)
        parts = prompts.profile(settings.prompt).parts(role, question, rules)
        done = models[role].create_completion(
            "".join(part.text for part in parts), max_tokens=settings.max_tokens, temperature=0.0
        )
        text = done["choices"][0]["text"].strip()
        rules = prompts.rules(text) if role is Role.KG else rules
        print(text)


if __name__ == "__main__":
    main()
