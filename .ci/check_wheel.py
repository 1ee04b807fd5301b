"""Fails unless a wheel holds what it must, and nothing that it must not."""

import sys
import zipfile

TOP = {"lorid_local", "lorid_convert", "lorid_train", "lorid_models"}
BUNDLE = "lorid_models/smollm2-135m"
MUST = {f"{BUNDLE}/{name}" for name in ("bundle.toml", "CARD.md", "ir.gguf", "kg.gguf", "dr.gguf")}

names = set(zipfile.ZipFile(sys.argv[1]).namelist())
tops = {name.split("/")[0] for name in names}
extra = {top for top in tops - TOP if not top.endswith(".dist-info")}
if extra or MUST - names:
    sys.exit(f"{sys.argv[1]}: lacks {sorted(MUST - names)}, should not hold {sorted(extra)}")
print(f"{sys.argv[1]}: {len(names)} files, {sorted(tops)}")
