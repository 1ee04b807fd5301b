"""PEFT LoRA folders to GGUF LoRA files, without torch."""
